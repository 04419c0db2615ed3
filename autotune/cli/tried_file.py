"""What ``autotune plugins check`` has tried, kept for a run that goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.errors import InputError
from autotune.hashing import sha256_json
from autotune.search.check import Choice, Tried, Verdict

if TYPE_CHECKING:
    from autotune.search.plan import Plan


class TriedFile:
    """JSON lines: a key, and what came of it. One that was cut short when it was written is left
    out, and tried again."""

    def __init__(self, path: Path | None) -> None:
        """
        Args:
            path: The file; it need not exist. None keeps nothing.

        Raises:
            InputError: It cannot be read, or holds something else.
        """
        self._path = path
        self._known: dict[str, Tried] = {}
        if path is not None and path.exists():
            try:
                lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
                whole = [line for line in lines if line.endswith("\n")]
                self._known = dict(_read(json.loads(line)) for line in whole)
                if whole != lines:
                    path.write_text("".join(whole), encoding="utf-8")
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"--keep: {path} does not hold what an earlier check has tried ({error}); "
                    "name another file"
                ) from error

    def find(self, plan: Plan, choice: Choice) -> Tried | None:
        """What came of a choice on this model, machine and workload; None if it was not tried."""
        return self._known.get(_key(plan, choice))

    def add(self, plan: Plan, choice: Choice, tried: Tried) -> None:
        """Keeps it at once.

        Raises:
            InputError: The file cannot be written.
        """
        if self._path is None:
            return
        line = json.dumps({"key": _key(plan, choice), "tried": dataclasses.asdict(tried)})
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        except OSError as error:
            raise InputError(f"--keep: {self._path} cannot be written: {error}") from error


def _key(plan: Plan, choice: Choice) -> str:
    work = plan.workload
    return sha256_json(
        {
            "plugin": choice.plugin,
            "recipe": choice.recipe.to_dict(),
            "model": plan.model.fingerprint,
            "environment": plan.environment,
            "texts": work.evaluation_key,
            "new_tokens": work.new_tokens,
            "requests": work.traffic.requests if work.traffic else None,
        }
    )


def _read(line: dict[str, Any]) -> tuple[str, Tried]:
    tried = line["tried"]
    return line["key"], Tried(**{**tried, "verdict": Verdict(tried["verdict"])})
