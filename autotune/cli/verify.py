"""``autotune verify``: whether an exported directory still is, and does, what the trial did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli import options

if TYPE_CHECKING:
    from autotune.export.verify import Verified


def verify(
    directory: Annotated[Path, typer.Argument(help="What autotune export has written.")],
    model: Annotated[
        str | None, typer.Option(help="The original model's folder; by default where it was.")
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Check an exported directory: its files, its outputs, and its speed measured again.

    Where the original model is there, it runs beside it, as in the study, and ratios are compared;
    otherwise speeds are. Exit code 1: outputs or objectives are not what is stored.

    Example: autotune verify served/
    """
    from autotune.cli.show import make_console
    from autotune.export.files import read_numbers
    from autotune.export.verify import verify as verify_export
    from autotune.launch.heartbeat import shown_phases

    console = make_console(stderr=True)
    console.print(f"reading {directory}, and measuring it again", markup=False)
    with shown_phases(console) as show:
        found = verify_export(directory, model, show)
    objectives = read_numbers(directory).objectives
    holds = found.holds(objectives)
    if json:
        _print_json(found, holds)
    else:
        _print(found, objectives)
    if not holds:
        raise typer.Exit(1)


def _print_json(found: Verified, holds: bool) -> None:
    import json

    from autotune.cli.reproduce import rows_of

    shown = {
        "holds": holds,
        "outputs": {
            "holds": found.outputs_hold,
            "max_abs_difference": found.max_abs_difference,
            "limit": found.limit,
        },
        "environment_differences": found.differing,
        "alone": found.alone,
        "fallbacks": found.fallbacks,
        "uncompared": found.uncompared,
        "metrics": rows_of(found.checks),
    }
    typer.echo(json.dumps(shown, indent=2))


def _print(found: Verified, objectives: tuple[str, ...]) -> None:
    from autotune.cli.reproduce import print_checks
    from autotune.cli.show import make_console
    from autotune.recipe import describe

    console = make_console()
    lines = [f"files: all {len(found.export.files)} are those that were written"]
    verdict = "hold" if found.outputs_hold else "do not hold"
    lines.append(
        f"outputs {verdict}: they differ from the trial's by at most "
        f"{found.max_abs_difference:.3g}, {found.limit:.3g} is allowed"
    )
    for key, (then, now) in found.differing.items():
        lines.append(f"environment: {key}: then {then}, now {now}")
    if found.alone and found.checks:
        lines.append(f"measured alone, so that speeds are compared and no ratios: {found.alone}")
    lines += [f"ran otherwise than its recipe asks: {words}" for words in found.fallbacks]
    if found.uncompared:
        lines.append(f"objectives not compared: {', '.join(found.uncompared)}")
    for line in lines:
        console.print(line, markup=False)
    if not found.checks:
        return
    spec = found.export.spec
    title = f"{spec.study} #{spec.number}: {describe(spec.recipe)}"
    judged = tuple(name for name in objectives if name not in found.uncompared)
    print_checks(found.checks, title, judged)
