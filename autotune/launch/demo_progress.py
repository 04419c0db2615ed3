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
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True)
    tasks: list[TaskID] = []
    printed = [-1]

    def print_line(fraction: float, message: str) -> None:
        """Where nothing can be redrawn: one line for every tenth."""
        tenth = int(fraction * 10)
        if tenth > printed[0]:
            printed[0] = tenth
            console.print(f"training the demo model: {tenth * 10} % ({message})", highlight=False)

    def update(fraction: float, message: str) -> None:
        if not console.is_terminal:
            print_line(fraction, message)
            return
        if not tasks:
            tasks.append(bar.add_task("training the demo model", total=1.0))
            bar.start()
        bar.update(tasks[0], completed=fraction, description=message)

    try:
        yield update
    finally:
        if tasks:
            bar.stop()
