"""Trains one demo model in this process: ``python -m autotune.demo DIR --size tiny``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from autotune.demo.blueprint import BLUEPRINTS
from autotune.errors import AutotuneError, InputError


def main(arguments: list[str] | None = None) -> int:
    """Trains; prints the report, after one JSON line per step if progress is asked for.

    Returns:
        The exit code: 2 if the request was refused, 1 if training failed.
    """
    options = _parse(arguments)
    # Threads that spin while they wait make training many times slower beside other programs;
    # read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from autotune.demo.train import train

    progress = _print_line if options.progress else None
    try:
        report = train(options.directory, options.size, seed=options.seed, progress=progress)
    except AutotuneError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    print(json.dumps(vars(report)), flush=True)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m autotune.demo", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--size", choices=BLUEPRINTS, default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--progress", action="store_true", help="one JSON line per step")
    return parser.parse_args(arguments)


def _print_line(fraction: float, message: str) -> None:
    # Flushed each time: a parent that died breaks the pipe, which ends this process as well.
    print(json.dumps({"fraction": round(fraction, 4), "message": message}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
