"""``autotune plugins check``: try what plugins offer on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli import options
from autotune.errors import InputError
from autotune.plugin import Plugin, Trait

if TYPE_CHECKING:
    from autotune.messages import Progress
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
        "prepare_timeout_seconds": 1800.0,  # training on a slow machine is no failure
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
        "as_text": True,
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
    from autotune.cli.demo_progress import training_bar
    from autotune.search.check import Verdict
    from autotune.search.plan import find_model, make_plan
    from autotune.workload.paths import cache_directory, require_writable

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
    with training_bar() as bar:
        task = find_model(options.study_of(None, given), cache_directory(), bar).task
    found = _Found(json=json, markdown=markdown)
    with found.shown():
        for together, known, workload in _rounds(installed, wanted, task):
            study = options.study_of(None, {**given, **workload})
            with training_bar() as bar:
                plan = replace(make_plan(study, output, bar, only={}), registry=known)
            found.begin(plan, together)
            _try(plan, *_chosen(plan, together, in_pairs), found)
    if any(one.verdict is Verdict.FAILED for one in found.tried):
        raise typer.Exit(1)


def _rounds(
    installed: Registry, wanted: list[str], task: str
) -> Iterator[tuple[list[str], Registry, dict[str, Any]]]:
    """Names that are tried on one workload, what may be beside them, what that workload has."""
    if task != "causal-lm":  # no other has traffic: what lives of it is refused
        yield wanted, installed, {}
        return
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


@dataclass
class _Found:
    """What came of the tries so far; it is shown however they end."""

    json: bool
    markdown: Path | None
    tried: list[Tried] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    plan: Plan | None = None

    def begin(self, plan: Plan, names: list[str]) -> None:
        """The next round."""
        self.plan, self.order = plan, [*self.order, *names]

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Prints and writes it at the end, also if that is Ctrl-C or an error."""
        ended = "stopped before the rest"
        try:
            yield
            ended = ""
        finally:
            if self.plan and (self.tried or not ended):
                self._show(self.plan, ended)

    def _show(self, plan: Plan, ended: str) -> None:
        from autotune.cli.checked import checked_table
        from autotune.cli.show import make_console

        self.tried.sort(key=lambda one: self.order.index(one.plugin))
        if self.json:
            _print_json(self.tried)
        else:
            make_console().print(checked_table(self.tried))
            typer.echo(", ".join(filter(None, (_totals(self.tried), ended))))
        if self.markdown is not None:
            _write(self.markdown, plan, self.tried, ended)


def _try(plan: Plan, todo: list[Choice], refused: list[Tried], found: _Found) -> None:
    """Shows which is running, and what it does."""
    from autotune.cli.heartbeat import Heartbeat
    from autotune.cli.show import make_console
    from autotune.report.format import phase_words
    from autotune.search.check import try_all

    found.tried += refused
    console = make_console(stderr=True)
    heart = Heartbeat(console)
    words = [f"{number} of {len(todo)}: {one.recipe}" for number, one in enumerate(todo, start=1)]
    with console.status("measuring the baseline") as status:

        def show(progress: Progress) -> None:
            what = words[progress.number - 1] if progress.number else "the baseline"
            status.update(f"{what} {phase_words(progress.phase, progress.detail)}")
            heart.beat(progress, what)

        with closing(try_all(plan, todo, show)) as results:
            for line in words:
                if not console.is_terminal:
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
                    heart.said()
                found.tried.append(next(results))


def _totals(tried: list[Tried]) -> str:
    from collections import Counter

    counts = Counter(one.verdict.value for one in tried)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def _write(path: Path, plan: Plan, tried: list[Tried], ended: str) -> None:
    from autotune.cli.checked import checked_markdown

    machine = plan.environment
    versions = ", ".join(f"{k} {machine[k]}" for k in ("torch", "transformers") if k in machine)
    cores = f"{plan.device.name}, {plan.device.cores} cores"
    head = "; ".join(filter(None, (cores, versions, f"model {plan.model.name}", ended)))
    try:
        path.write_text(f"{head}\n\n{checked_markdown(tried)}", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--markdown: {path} cannot be written: {error}") from error


def _print_json(tried: list[Tried]) -> None:
    import dataclasses
    import json as codec

    typer.echo(codec.dumps([dataclasses.asdict(one) for one in tried], indent=2))
