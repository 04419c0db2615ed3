"""A progress bar for the demo model that a command may have to train first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def training_bar() -> Iterator[Callable[[float, str], None]]:
    """Yields a callback for fraction and message; the bar appears with its first call."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskID,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    tasks: list[TaskID] = []

    def update(fraction: float, message: str) -> None:
        if not tasks:
            tasks.append(bar.add_task("training the demo model", total=1.0))
            bar.start()
        bar.update(tasks[0], completed=fraction, description=message)

    try:
        yield update
    finally:
        if tasks:
            bar.stop()
