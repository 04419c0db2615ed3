"""``autotune plugins new``: a distribution to begin a plugin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(help="Name of the plugin: a-z, 0-9 and _.")],
    directory: Annotated[
        Path | None,
        typer.Option(help="Folder to make; by default autotune-NAME.", show_default=False),
    ] = None,
) -> None:
    """Write a distribution with a small plugin that works, and its tests.

    Install it, see its tests pass, then change it into your technique.

    Example: autotune plugins new low_rank
    """
    import os
    import shlex

    from autotune import registry
    from autotune.testing.new_plugin import write_distribution

    written = write_distribution(name, directory, registry.installed().distributions)
    for path in written:
        typer.echo(path)
    folder = shlex.quote(os.path.commonpath(written))
    typer.echo(f"next:  cd {folder} && python -m pip install -e '.[test]' && python -m pytest")
    typer.echo(f"then:  autotune plugins check {name}")
