"""Demo models built once per user and blueprint."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from autotune.demo.blueprint import BLUEPRINT_VERSION, BLUEPRINTS, REPORT_NAME
from autotune.demo.child import Progress, train_in_child
from autotune.errors import InputError, unknown_name
from autotune.workload.paths import CACHE_VARIABLE, cache_directory, require_writable

_REMEDY = (
    f"set {CACHE_VARIABLE} to a folder that you may write to, or build the model with "
    "`autotune demo-model DIR` and pass it as --model DIR"
)


def demo_model(
    size: str = "small", *, cache: Path | None = None, progress: Progress | None = None
) -> Path:
    """Returns the directory of a demo model, trained on first use.

    Two processes that ask at once train it once: the second waits for the first.

    Args:
        size: A name in `BLUEPRINTS`.
        cache: Folder to keep it in; by default `workload.paths.cache_directory`.
        progress: Called with the fraction done, 0 to 1, and one line of text.

    Raises:
        InputError: Unknown size, or a cache that cannot be written.
        AutotuneError: Training failed.
    """
    if size not in BLUEPRINTS:
        raise InputError(unknown_name("demo model size", size, BLUEPRINTS))
    root = (cache or cache_directory()).absolute()
    directory = root / f"demo-{size}-v{BLUEPRINT_VERSION}"
    if (directory / REPORT_NAME).exists():
        return directory
    require_writable(root, "the cache folder", _REMEDY)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{directory.name}.lock"):
        if not (directory / REPORT_NAME).exists():
            train_in_child(directory, size, progress)
    return directory
