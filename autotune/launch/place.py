"""Where a study is kept, and who measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autotune.workload.paths import require_writable


@dataclass(frozen=True)
class Place:
    """Where a study is kept, and who measures."""

    output: Path
    """Folder of the studies."""
    database: str | None = None
    """URL; none: a file in the folder."""
    broker: str | None = None
    """URL of the workers' Redis; none: this machine measures."""
    lease_seconds: float = 30.0
    """Without a sign of life, until a worker's trial is given to another."""

    @property
    def url(self) -> str:
        """Of the database."""
        return database_url(self.database, self.output)

    def make_folder(self) -> None:
        """The folder of a database that is a file."""
        if self.database is None:
            require_writable(self.output, "the output folder", "name another one with --output")
            self.output.mkdir(parents=True, exist_ok=True)


def database_url(database: str | None, output: Path) -> str:
    """The database to use."""
    return database or f"sqlite:///{output / 'autotune.db'}"
