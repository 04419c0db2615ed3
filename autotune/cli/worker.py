"""``autotune worker``: measure trials of searches that run elsewhere."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from typing import Annotated

import typer

from autotune.cli import options
from autotune.errors import InputError
from autotune.execute.fleet import settings
from autotune.execute.fleet.settings import WorkerSettings
from autotune.trust import Trust

_MODULE = "autotune_workers"


def worker(
    broker: options.Broker = None,
    database: options.Database = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the worker; by default HOST-DEVICE-PID.")
    ] = None,
    device: options.DeviceName = "auto",
    cores: Annotated[
        str | None, typer.Option(help="CPU cores to stay on, e.g. 0-7,16-23; by default all.")
    ] = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    allow_power_changes: options.AllowPowerChanges = False,
) -> None:
    """Measure trials of searches that run elsewhere: one worker for each device.

    SIGTERM and Ctrl-C let the running trial end first. A worker that is killed costs no more
    than its running trial: another one measures it.

    Example: autotune worker --broker redis://host --database postgresql://user@host/autotune
    """
    if broker is None:
        raise InputError("no broker: give --broker redis://host, or set " + settings.BROKER)
    for module in ("celery", "redis", "structlog", _MODULE):
        if importlib.util.find_spec(module) is None:
            raise InputError(f"a worker needs {module}: pip install 'autotune[workers]'")
    if cores is not None:
        os.sched_setaffinity(0, parse_cores(cores))
    if database is None:
        output.mkdir(parents=True, exist_ok=True)
    os.environ |= WorkerSettings(
        broker=broker,
        database=options.database_url(database, output.absolute()),
        name=name or f"{socket.gethostname()}-{device}-{os.getpid()}",
        device=device,
        directory=output.absolute(),
        allows=Trust(
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            allow_power_changes=allow_power_changes,
        ),
    ).to_environment()
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", _MODULE])


def parse_cores(text: str) -> set[int]:
    """Reads a list of cores as the kernel writes them.

    Args:
        text: Such as ``0-3,8``.

    Raises:
        InputError: It is none, or names cores that this process may not use.
    """
    cores: set[int] = set()
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            cores |= set(range(int(first), int(last or first) + 1))
    except ValueError as error:
        raise InputError(f"--cores: {text!r} is no list of cores; write 0-7,16-23") from error
    allowed = os.sched_getaffinity(0)
    if not cores or not cores <= allowed:
        raise InputError(
            f"--cores: {text!r} is not within the cores that this process may use: "
            f"{', '.join(map(str, sorted(allowed)))}"
        )
    return cores
