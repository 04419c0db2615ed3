"""The bench processes that a slot keeps: the latest candidate's, and what runs beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from autotune.bench.protocol import Operation, Reply
from autotune.errors import BenchError
from autotune.execute.process import Start, spawn
from autotune.execute.session import BenchSession
from autotune.execute.template import fork
from autotune.hashing import sha256_json
from autotune.messages import TrialSpec
from autotune.outcome import Outcome
from autotune.params import Params
from autotune.plugin import Plugin, Unsupported
from autotune.registry import Registry
from autotune.space import merge

Role = Literal["candidate", "reference"]

_PROBE = "probe"
"""The key of a probe's process, which stands where the baseline's session would."""

_EXPORT = "export"
"""The key of a process that has written its model."""

_BEGUN = "begun "
"""Before the key of a process that was not asked to prepare anything yet."""


class WarmSessions:
    """At most one process for each role; the next one takes the old one's place."""

    def __init__(self, registry: Registry) -> None:
        self._plugins = registry.plugins
        self._held: dict[Role, tuple[str, BenchSession, Reply]] = {}
        self._terminated = threading.Event()

    def is_warm(self, role: Role, spec: TrialSpec) -> bool:
        """Whether the role's session holds what this trial needs."""
        return role in self._held and self._held[role][0] == session_key(spec)

    @property
    def holds_baseline(self) -> bool:
        """Whether a session of the baseline takes memory beside the candidate's."""
        return self._is_prepared("reference") and self._key("reference") != _PROBE

    @property
    def is_empty(self) -> bool:
        """Whether no process is there."""
        return not self._held

    def warm_setup(self) -> str | None:
        """The ``setup_key`` of the latest candidate's session."""
        warm = self._held.get("candidate")
        return warm[0].split(":")[0] if warm else None

    def get(self, role: Role, spec: TrialSpec) -> tuple[BenchSession, Reply]:
        """The warm session for this trial with its answer to prepare, or a new one in the place
        of the old.

        Raises:
            Unsupported: The recipe needs a plugin that is not installed here.
            BenchError: It cannot be prepared.
        """
        if self.is_warm(role, spec):
            return self._held[role][1:]
        key = session_key(spec)
        if self._key(role) != _BEGUN + key:
            self.drop(role)
            self._start(role, key, spec, role)
        session = self._held[role][1]
        try:
            reply = session.ask(Operation.PREPARE, spec.settings.prepare_timeout_seconds, spec)
        except BenchError:
            self.drop(role)
            raise
        self._held[role] = (key, session, reply)
        return session, reply

    def probe(self, spec: TrialSpec) -> BenchSession:
        """A process without a model, in the place of the baseline's session."""
        if "reference" in self._held and self._held["reference"][0] == _PROBE:
            return self._held["reference"][1]
        self.drop("reference")
        return self._start("reference", _PROBE, spec.model_copy(update={"recipe": {}}), _PROBE)

    def begin(self, role: Role, spec: TrialSpec) -> None:
        """Starts the process that ``get`` will ask for, unless the role has one: of two that are
        begun together, one imports while the other does.

        Raises:
            Unsupported: The recipe needs a plugin that is not installed here.
            BenchError: It cannot be started.
        """
        if role not in self._held:
            self._start(role, _BEGUN + session_key(spec), spec, role)

    def export(
        self, spec: TrialSpec, folder: Path, max_shard_bytes: int
    ) -> tuple[BenchSession, Reply]:
        """A new process that prepares a trial and writes its model; see ``BenchSession.export``.

        Raises:
            Unsupported: The recipe needs a plugin that is not installed here.
            BenchError: It cannot be prepared or written.
        """
        self.drop("candidate")
        session = self._start("candidate", _EXPORT, spec, _EXPORT)
        return session, session.export(spec, folder, max_shard_bytes)

    def _key(self, role: Role) -> str:
        return self._held[role][0] if role in self._held else ""

    def _is_prepared(self, role: Role) -> bool:
        return role in self._held and not self._key(role).startswith(_BEGUN)

    def _start(self, role: Role, key: str, spec: TrialSpec, log: str) -> BenchSession:
        self.refuse_if_terminated()
        absent = [name for name in spec.recipe if name not in self._plugins]
        if absent:
            raise Unsupported(f"plugins not installed here: {', '.join(absent)}")
        environment = merge(spec.recipe, self._plugins, _env_of, "environment variable")
        environment |= spec.device.environment
        limit = spec.settings.memory_limit_bytes
        start = _start_of(spec, self._terminated.is_set)
        session = BenchSession(session_log(spec, log), environment, limit, start)
        self._held[role] = (key, session, Reply())
        if self._terminated.is_set():  # it was, between the check and the start
            session.terminate()
        return session

    def refuse_if_terminated(self) -> None:
        """
        Raises:
            BenchError: ``terminate`` was called.
        """
        if self._terminated.is_set():
            raise BenchError(Outcome.CRASHED, "the executor was closed")

    def terminate(self) -> None:
        """Kills the processes and lets none begin; safe from any thread."""
        self._terminated.set()
        for _, session, _ in list(self._held.values()):
            session.terminate()

    def drop(self, role: Role) -> None:
        """Ends the role's process, if there is one."""
        dropped = self._held.pop(role, None)
        if dropped is not None:
            dropped[1].close()

    def close(self) -> None:
        """Ends all processes."""
        for role in list(self._held):
            self.drop(role)


def _start_of(spec: TrialSpec, given_up: Callable[[], bool]) -> Start:
    """Forking saves the imports. CUDA cannot be used after a fork, and a repetition is to meet
    everything anew, the layout of memory too."""
    forks = spec.device.kind == "cpu" and not spec.confirmation
    return partial(fork, given_up=given_up) if forks else spawn


def ask(session: BenchSession, operation: Operation, spec: TrialSpec) -> Reply:
    """Asks for one step of a trial, within the step's time limit.

    Raises:
        BenchError: It failed, or took too long.
    """
    settings = spec.settings
    tasks = operation is Operation.TASKS
    limit = settings.tasks_timeout_seconds if tasks else settings.step_timeout_seconds
    return session.ask(operation, limit, spec)


def session_log(spec: TrialSpec, role: str) -> Path:
    """Where a process of this trial writes what it prints."""
    again = f"-confirmation{spec.confirmation}" if spec.confirmation else ""
    again += "-tasks" if spec.tasks_only else ""
    return Path(spec.directory) / "logs" / f"{spec.number:05d}-{role}{again}.log"


def session_key(spec: TrialSpec) -> str:
    """Trials with the same key can share a bench session; begins with the ``setup_key``."""
    parts = [spec.model, spec.workload, spec.settings, spec.device]
    identity = [spec.exported, *(part.model_dump(mode="json") for part in parts)]
    return f"{spec.setup_key}:{sha256_json(identity)[:16]}"


def _env_of(plugin: Plugin, params: Params) -> dict[str, str]:
    try:
        return {str(name): str(value) for name, value in plugin.env(params).items()}
    except Unsupported:
        raise
    except Exception as error:
        raise BenchError(
            Outcome.CRASHED,
            f"plugin {plugin.name!r} raised in env({dict(params)}): "
            f"{type(error).__name__}: {error}",
        ) from error
