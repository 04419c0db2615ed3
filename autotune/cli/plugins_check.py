"""``autotune plugins check``: try what plugins offer on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli import options
from autotune.errors import InputError
from autotune.plugin import Plugin, Trait

if TYPE_CHECKING:
    from autotune.registry import Registry
    from autotune.search.check import Choice, Tried
    from autotune.search.plan import Plan

_QUICK: dict[str, dict[str, Any]] = {
    "workload": {
        "prompt_tokens": 32,
        "evaluation_positions": 512,
        "calibration_sequences": 8,
    },
    "measure": {
        "block_seconds": 0.05,
        "max_pairs": 6,
        "warmup_blocks": 3,
        "energy_windows": 1,
        "verify_reload": True,
    },
}
"""Enough to see an effect, not enough to trust a speed."""

_TRAFFIC: dict[str, Any] = {
    "workload.new_tokens": 6,
    "workload.traffic": {
        "requests": 8,
        "prompt_tokens_spread_ratio": 0.5,
        "new_tokens_spread_ratio": 0.5,
        "repeat_ratio": 0.25,
        "shared_prefix_tokens": 8,
    },
}
"""For plugins that do nothing where all requests are alike."""


def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of plugins.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are installed.")] = False,
    in_pairs: Annotated[
        bool,
        typer.Option("--pairs", help="In place of each value: each pair with another plugin."),
    ] = False,
    model: options.Model = "demo-tiny",
    task: options.Task = "auto",
    device: options.DeviceName = "auto",
    allow_power_changes: options.AllowPowerChanges = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the table to this file.")
    ] = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    json: options.AsJson = False,
) -> None:
    """Try every value of plugins on a small model: does it run here, and is its effect seen?

    Each is loaded, run, checked for finite outputs and taken accuracy of, saved and loaded again.
    Did it run as asked, and are the weights as small as it states? Speeds are measured for an
    instant only; measure them with autotune bench. Exits with 1 if any has failed.

    Example: autotune plugins check quantize
    """
    from autotune import registry
    from autotune.cli.checked import checked_table
    from autotune.cli.demo_progress import training_bar
    from autotune.cli.show import make_console
    from autotune.search.check import Verdict
    from autotune.search.plan import make_plan
    from autotune.workload.paths import require_writable

    installed = registry.installed()
    if bool(names) == every:
        raise InputError(
            f"which plugins? Name some of {', '.join(installed.plugins)}, or give --all"
        )
    if markdown is not None:
        require_writable(markdown.parent, "the folder of --markdown", "name another file")
    wanted = list(installed.plugins if every else installed.select(names).plugins)
    given = {
        "name": "plugins-check",
        "model": model,
        "task": None if task == "auto" else task,
        "device": None if device == "auto" else device,
        "allow_power_changes": allow_power_changes,
        **_quickly(),
    }
    tried: list[Tried] = []
    for together, known, workload in _rounds(installed, wanted):
        study = options.study_of(None, {**given, **workload})
        with training_bar() as bar:
            plan = replace(make_plan(study, output, bar, only={}), registry=known)
        tried += _try(plan, together, *_chosen(plan, together, in_pairs))
    if json:
        _print_json(tried)
    else:
        make_console().print(checked_table(tried))
        typer.echo(_totals(tried))
    if markdown is not None:
        _write(markdown, plan, tried)
    if any(one.verdict is Verdict.FAILED for one in tried):
        raise typer.Exit(1)


def _rounds(
    installed: Registry, wanted: list[str]
) -> Iterator[tuple[list[str], Registry, dict[str, Any]]]:
    """Names that are tried on one workload, what may be beside them, what that workload has."""
    apart = {name for name, plugin in installed.plugins.items() if _needs_traffic(plugin)}
    if alike := [name for name in wanted if name not in apart]:
        yield alike, installed.select(n for n in installed.plugins if n not in apart), {}
    if differing := [name for name in wanted if name in apart]:
        yield differing, installed, _TRAFFIC


def _needs_traffic(plugin: Plugin) -> bool:
    needed = plugin.requires.workload
    return bool(needed) and Trait.UNIFORM not in needed


def _quickly() -> dict[str, Any]:
    return {f"{s}.{key}": value for s, values in _QUICK.items() for key, value in values.items()}


def _chosen(plan: Plan, names: list[str], in_pairs: bool) -> tuple[list[Choice], list[Tried]]:
    from autotune.search.check import choices, pairs

    if in_pairs:
        return pairs(plan, names)
    found = [choices(plan, name) for name in names]
    return [c for todo, _ in found for c in todo], [t for _, refused in found for t in refused]


def _try(plan: Plan, names: list[str], todo: list[Choice], refused: list[Tried]) -> list[Tried]:
    """Shows which is running; what is done so far is printed if it is stopped."""
    from autotune.cli.checked import checked_table
    from autotune.cli.show import make_console
    from autotune.search.check import try_all

    tried = list(refused)
    console = make_console(stderr=True)
    results = try_all(plan, todo, lambda _: None)
    try:
        with console.status("measuring the baseline") as status:
            for number, choice in enumerate(todo, start=1):
                words = f"{number} of {len(todo)}: {choice.recipe}"
                status.update(words)
                if not console.is_terminal:
                    console.print(words, markup=False, highlight=False)
                tried.append(next(results))
    except BaseException:
        console.print(checked_table(_sorted(tried, names)))
        raise
    finally:
        results.close()
    return _sorted(tried, names)


def _sorted(tried: list[Tried], names: list[str]) -> list[Tried]:
    return sorted(tried, key=lambda one: names.index(one.plugin))


def _totals(tried: list[Tried]) -> str:
    from collections import Counter

    counts = Counter(one.verdict.value for one in tried)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def _write(path: Path, plan: Plan, tried: list[Tried]) -> None:
    from autotune.cli.checked import checked_markdown

    machine = plan.environment
    versions = ", ".join(f"{k} {machine[k]}" for k in ("torch", "transformers") if k in machine)
    head = f"{plan.device.name}, {plan.device.cores} cores; {versions}; model {plan.model.name}"
    try:
        path.write_text(f"{head}\n\n{checked_markdown(tried)}", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--markdown: {path} cannot be written: {error}") from error


def _print_json(tried: list[Tried]) -> None:
    import dataclasses
    import json as codec

    typer.echo(codec.dumps([dataclasses.asdict(one) for one in tried], indent=2))
