"""Serving from a command line: ``python -m autotune.openai``, or a folder's own script."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from autotune.errors import AutotuneError, InputError

API_KEY = "AUTOTUNE_API_KEY"
_LIBRARIES = ("fastapi", "uvicorn")


def serve(
    directory: Path, host: str = "127.0.0.1", port: int = 8000, api_key: str | None = None
) -> None:
    """Loads a model and answers OpenAI's clients until SIGINT or SIGTERM; what runs then is
    answered first. Call it in the main thread.

    Args:
        directory: What ``autotune.load`` takes: an exported folder, or a dispatch table.
        host: Address to listen on.
        port: Port to listen on; 0 takes any that is free.
        api_key: What every request must bring; None: nothing.

    Raises:
        InputError: The address is taken, the model cannot be found, or a library is missing.
        AutotuneError: The model cannot be prepared.
    """
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"serving needs {', '.join(missing)}: pip install 'autotune[serve]'")
    from autotune.openai.server import run

    run(directory, host, port, api_key)


def main(directory: Path | None = None, arguments: Sequence[str] | None = None) -> None:
    """Serves as the command line says; an expected error is one line and an exit code.

    Args:
        directory: As of ``serve``; None: the first argument names it.
        arguments: By default those of the process.
    """
    given = _parser(directory is None).parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        serve(directory or given.directory, given.host, given.port, given.api_key)
    except InputError as error:
        sys.exit(_said(error, 2))
    except AutotuneError as error:
        sys.exit(_said(error, 1))
    except KeyboardInterrupt:
        sys.exit(130)


def _parser(names_directory: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Serve a tuned model behind OpenAI's API: chat, completions, streaming.",
        epilog=f"{API_KEY} in the environment is the key too, and is in no list of processes.",
        allow_abbrev=False,
    )
    if names_directory:
        parser.add_argument("directory", type=Path, help="an exported folder, or a dispatch table")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on (%(default)s); 0: any free one"
    )
    parser.add_argument(
        "--api-key",
        default=os.environ.get(API_KEY),
        help="what every request must bring; by default nothing",
    )
    return parser


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _said(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code
