"""``autotune plugins check``: try what plugins offer on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli import options
from autotune.errors import InputError
from autotune.plugin import Plugin, Trait
from autotune.space import missing_package

if TYPE_CHECKING:
    from autotune.cli.tried_file import TriedFile
    from autotune.messages import ModelRef, Progress
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

_ADAPTERS = 3
"""For plugins that serve several."""


def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of plugins.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are installed.")] = False,
    in_pairs: Annotated[
        bool,
        typer.Option("--pairs", help="In place of each value: each pair with another plugin."),
    ] = False,
    contract: Annotated[
        bool,
        typer.Option(
            "--contract", help="Only whether they keep the contract; nothing is measured."
        ),
    ] = False,
    model: options.Model = "demo-tiny",
    task: options.Task = "auto",
    device: options.DeviceName = "auto",
    allow_power_changes: options.AllowPowerChanges = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the table to this file.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Add what was tried to this file at once, and do not try again what it holds for "
            "this model and machine. Delete it when a plugin has changed."
        ),
    ] = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    json: options.AsJson = False,
) -> None:
    """Try every value of plugins on a small model: does it run here, and is its effect seen?

    The contract that every plugin keeps comes first (autotune.testing). Then each value is loaded,
    run, checked for finite outputs and taken accuracy of, saved and loaded again.
    Did it run as asked, and are the weights as small as it states? Speeds are measured for an
    instant only; measure them with autotune bench. Exits with 1 if any has failed.

    Example: autotune plugins check quantize
    """
    from autotune import registry
    from autotune.cli.plugins_contract import judge_contracts
    from autotune.cli.tried_file import TriedFile
    from autotune.launch.demo_progress import training_bar
    from autotune.search.check import Verdict
    from autotune.search.plan import find_model
    from autotune.workload.model import read_config
    from autotune.workload.paths import cache_directory, require_writable

    installed = registry.installed()
    if bool(names) == every:
        raise InputError(
            f"which plugins? Name some of {', '.join(installed.plugins)}, or give --all"
        )
    if contract and (in_pairs or markdown or keep):
        raise InputError("--contract measures nothing: leave out --pairs, --markdown and --keep")
    for name, file in (("--markdown", markdown), ("--keep", keep)):
        if file is not None:
            require_writable(file.parent, f"the folder of {name}", "name another file")
    earlier = TriedFile(keep)
    wanted = installed if every else installed.select(names)
    given = {
        "name": "plugins-check",
        "model": model,
        "task": None if task == "auto" else task,
        "device": None if device == "auto" else device,
        "allow_power_changes": allow_power_changes,
        **_quickly(),
    }
    with training_bar() as bar:
        used = find_model(options.study_of(None, given), cache_directory(), bar)
    kept = judge_contracts(wanted, read_config(Path(used.path)))
    failures = [one for one in kept if one.verdict is Verdict.FAILED]
    found = _Found(list(wanted.plugins), kept if contract else failures, json, markdown)
    if contract:
        found.show()
    else:
        _measure(found, earlier, installed, given, used, output, in_pairs)
    if any(one.verdict is Verdict.FAILED for one in found.tried):
        raise typer.Exit(1)


def _measure(
    found: _Found,
    earlier: TriedFile,
    installed: Registry,
    given: dict[str, Any],
    used: ModelRef,
    output: Path,
    in_pairs: bool,
) -> None:
    """Tries the values of the plugins that are in order, and shows what came of it."""
    from autotune.demo.adapters import projections, write_adapters
    from autotune.launch.demo_progress import training_bar
    from autotune.search.plan import make_plan

    with found.shown(), TemporaryDirectory(prefix="autotune-") as folder:

        def adapters() -> tuple[str, ...]:
            model = Path(used.path)
            count = _ADAPTERS if projections(model) else 0
            return tuple(map(str, write_adapters(model, Path(folder), count))) if count else ()

        for together, known, workload in _rounds(installed, found.order, used.task, adapters):
            study = options.study_of(None, {**given, **workload})
            with training_bar() as bar:
                found.plan = replace(make_plan(study, output, bar, only={}), registry=known)
            _try(found.plan, *_chosen(found.plan, together, in_pairs), found, earlier)


def _rounds(
    installed: Registry, wanted: list[str], task: str, adapters: Callable[[], tuple[str, ...]]
) -> Iterator[tuple[list[str], Registry, dict[str, Any]]]:
    """Names that are tried on one workload, what may be beside them, what that workload has."""
    if task != "causal-lm":  # no other has traffic: what lives of it is refused
        yield wanted, installed, {}
        return
    apart = {name for name, plugin in installed.plugins.items() if _needs_traffic(plugin)}
    if alike := [name for name in wanted if name not in apart]:
        yield alike, installed.select(n for n in installed.plugins if n not in apart), {}
    adapted = {name for name in apart if _needs(installed.plugins[name], Trait.ADAPTERS)}
    if differing := [name for name in wanted if name in apart - adapted]:
        yield (
            differing,
            installed.select(n for n in installed.plugins if n not in adapted),
            _TRAFFIC,
        )
    if asking := [name for name in wanted if name in adapted]:
        can = not any(missing_package(installed.plugins[name]) for name in asking)
        traffic = _TRAFFIC["workload.traffic"] | {"adapters": adapters() if can else ()}
        yield asking, installed, _TRAFFIC | {"workload.traffic": traffic}


def _needs_traffic(plugin: Plugin) -> bool:
    needed = plugin.requires.workload
    return bool(needed) and Trait.UNIFORM not in needed


def _needs(plugin: Plugin, trait: Trait) -> bool:
    return plugin.requires.workload == (trait,)


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

    order: list[str]
    tried: list[Tried]
    json: bool
    markdown: Path | None
    plan: Plan | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Prints and writes it at the end, also if that is Ctrl-C or an error."""
        from autotune.cli.checked import write_checked

        ended = "stopped before the rest"
        try:
            yield
            ended = ""
        finally:
            if self.plan and (self.tried or not ended):
                self.show(ended)
                if self.markdown is not None:
                    write_checked(self.markdown, self.plan, self.tried, ended)

    def show(self, ended: str = "") -> None:
        """Prints it.

        Args:
            ended: Why there is no more, if it is not all.
        """
        from autotune.cli.checked import checked_json, checked_table, totals
        from autotune.cli.show import make_console

        self.tried.sort(key=lambda one: self.order.index(one.plugin))
        if self.json:
            typer.echo(checked_json(self.tried))
        else:
            make_console().print(checked_table(self.tried))
            typer.echo(", ".join(filter(None, (totals(self.tried), ended))))


def _try(
    plan: Plan, wanted: list[Choice], refused: list[Tried], found: _Found, earlier: TriedFile
) -> None:
    """Tries what was not tried earlier; shows which is running, and what it does."""
    from autotune.cli.show import make_console
    from autotune.launch.heartbeat import Heartbeat
    from autotune.report.format import phase_words
    from autotune.search.check import try_all

    known = [(choice, earlier.find(plan, choice)) for choice in wanted]
    found.tried += [*refused, *(one for _, one in known if one is not None)]
    todo = [choice for choice, one in known if one is None]
    if not todo:
        return
    console = make_console(stderr=True)
    heart = Heartbeat(console)
    words = [f"{number} of {len(todo)}: {one.recipe}" for number, one in enumerate(todo, start=1)]
    with console.status("measuring the baseline") as status:

        def show(progress: Progress) -> None:
            what = words[progress.number - 1] if progress.number else "the baseline"
            status.update(f"{what} {phase_words(progress.phase, progress.detail)}")
            heart.beat(progress, what)

        with closing(try_all(plan, todo, show)) as results:
            for choice, line in zip(todo, words, strict=True):
                if not console.is_terminal:
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
                    heart.said()
                found.tried.append(next(results))
                earlier.add(plan, choice, found.tried[-1])
