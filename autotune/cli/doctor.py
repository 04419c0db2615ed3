"""``autotune doctor``: can numbers be trusted on this machine?"""

from __future__ import annotations

from pathlib import Path

import typer

from autotune.cli import options

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(
    model: options.Model = "demo-tiny",
    device: options.DeviceName = "auto",
    output: options.Output = Path("studies"),
    json: options.AsJson = False,
) -> None:
    """Prove the ruler on this machine: equal work looks equal, more work is seen, memory is exact.

    Takes about a minute. Run it before a long search, with nothing else running.

    Example: autotune doctor
    """
    from autotune.cli.show import make_console
    from autotune.launch.demo_progress import training_bar
    from autotune.report.console import plain_table
    from autotune.search.doctor import Verdict, examine
    from autotune.search.plan import make_plan

    given = {"model": model, "name": "doctor", "device": None if device == "auto" else device}
    wanted = options.study_of(None, given)
    with training_bar() as bar:
        plan = make_plan(wanted, output, bar, only={})
    progress = make_console(stderr=True)
    with progress.status("starting") as status:

        def show(name: str) -> None:
            status.update(f"checking: {name}")
            if not progress.is_terminal:
                progress.print(f"checking: {name}", markup=False, highlight=False)

        found = list(examine(plan, show))
    if json:
        import dataclasses
        import json as codec

        typer.echo(codec.dumps([dataclasses.asdict(f) for f in found], indent=2))
    else:
        table = plain_table(
            f"the ruler on {plan.device.name}, {plan.device.cores} cores", "check", "", "found"
        )
        for finding in found:
            style = _STYLES[finding.verdict]
            table.add_row(finding.check, f"[{style}]{finding.verdict}[/]", finding.words)
        make_console().print(table)
    if any(finding.verdict is Verdict.FAILED for finding in found):
        raise typer.Exit(1)
