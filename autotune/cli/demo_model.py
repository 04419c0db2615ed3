"""``autotune demo-model``: trains a small language model to try autotune on."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from autotune.demo.adapters import write_adapters
from autotune.demo.blueprint import DemoModelReport
from autotune.demo.child import train_in_child
from autotune.launch.demo_progress import training_bar


class Size(StrEnum):
    """The sizes on offer; `autotune.demo.blueprint.BLUEPRINTS` says what they are."""

    TINY = "tiny"
    SMALL = "small"


def demo_model(
    directory: Annotated[Path, typer.Argument(help="Where to put it; new or empty.")],
    size: Annotated[
        Size, typer.Option(help="tiny takes about 15 seconds, small under 3 minutes.")
    ] = Size.SMALL,
    seed: Annotated[int, typer.Option(help="Of the weights and the order of the text.")] = 0,
    adapters: Annotated[
        int,
        typer.Option(
            min=0, max=64, help="Random LoRA adapters to make for it, in DIRECTORY/adapters."
        ),
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Train a small language model here, from this Python's own text; nothing is downloaded.

    Example: autotune demo-model my-model --size tiny
    """
    report = _train(directory, size, seed)
    if adapters:
        write_adapters(directory, directory / "adapters", adapters)
    if json:
        typer.echo(report.to_json(), nl=False)
    else:
        _print_summary(directory, report, adapters)


def _train(directory: Path, size: Size, seed: int) -> DemoModelReport:
    with training_bar() as update:
        return train_in_child(directory, size.value, update, seed=seed)


def _print_summary(directory: Path, report: DemoModelReport, adapters: int) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"Trained {report.parameters / 1e6:.2f} M parameters in {report.train_seconds:.0f} s "
        f"({report.steps} steps)."
    )
    console.print(
        f"Perplexity on text it never saw: {report.heldout_perplexity:.1f}; "
        f"a model that knows only token frequencies: {report.unigram_perplexity:.1f}."
    )
    if adapters:
        where = directory / "adapters"
        told = f"{adapters} LoRA adapters are in {where}, for workload.traffic.adapters."
        console.print(told, markup=False)
    console.print(f"The model is in {directory}. Next:", markup=False)
    console.print(f"  autotune search --model {shlex.quote(str(directory))}", markup=False)
