"""``autotune presets``: studies that can be named in one word, and what aims stand for."""

from __future__ import annotations

from typing import Annotated

import typer

from autotune.cli import options


def presets(
    name: Annotated[
        str | None, typer.Argument(help="Name of one preset; all if left out.", show_default=False)
    ] = None,
    json: options.AsJson = False,
) -> None:
    """List the presets of autotune search, or show one as the study file that it stands for.

    Example: autotune presets latency
    """
    from autotune.presets import PRESETS, preset

    chosen = {name: preset(name)} if name else PRESETS
    if json:
        import json as codec

        facts = {n: {"summary": p.summary, "study": p.keys} for n, p in chosen.items()}
        typer.echo(codec.dumps(facts, indent=2))
    elif name:
        import yaml

        typer.echo(f"# {chosen[name].summary}")
        typer.echo(yaml.safe_dump(chosen[name].keys, sort_keys=False).rstrip())
    else:
        _print_all()


def _print_all() -> None:
    from autotune.cli.show import make_console
    from autotune.metrics import AIMS, DEFAULT_AIMS
    from autotune.presets import PRESETS
    from autotune.report.console import plain_table

    console = make_console()
    table = plain_table("", "preset", "for", "objectives", "plugins")
    for name, preset in PRESETS.items():
        aims = ", ".join(preset.objectives or DEFAULT_AIMS)
        table.add_row(name, preset.summary, aims, ", ".join(preset.plugins or ("all",)))
    console.print(table)
    words = plain_table("", "aim", "stands for")
    for aim, meaning in AIMS.items():
        words.add_row(aim, meaning)
    console.print(words)
