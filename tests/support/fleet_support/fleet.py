"""Workers and coordinators as processes of their own: for tests and fault campaigns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import IO, Any

import optuna
import psutil

from autotune.execute.fleet.broker import Broker
from autotune.execute.fleet.messages import WorkerCard
from autotune.store import Store
from autotune.store.database import parse_url
from autotune.store.records import TrialRecord
from fleet_support.servers import RedisServer, wait_for

AUTOTUNE = Path(sys.executable).with_name("autotune")
QUICK = Path(__file__).with_name("quick_worker.py")
LEASE_SECONDS = 10


def _command_of_parent(process: psutil.Process) -> str:
    try:
        return " ".join(psutil.Process(process.ppid()).cmdline())
    except psutil.Error:  # it has ended since
        return ""


class Fleet:
    """Workers and coordinators of one study, all of them processes of their own."""

    def __init__(self, folder: Path, redis: RedisServer, database: str, study: Path) -> None:
        self.folder = folder
        self.redis = redis
        self.database = database
        self.study = study
        self.processes: list[subprocess.Popen[str]] = []
        self._names: list[str] = []
        self.environment = {
            **os.environ,
            "AUTOTUNE_BROKER_URL": redis.url,
            "AUTOTUNE_DATABASE_URL": database,
            "QUICK_JOURNAL": str(folder / "journal.txt"),
        }

    def worker(
        self, name: str, seconds: float = 0.2, *, bench: bool = False
    ) -> subprocess.Popen[str]:
        """Starts a worker whose trials take so long, each in a bench process if wanted."""
        own = {"AUTOTUNE_WORKER_NAME": name, "QUICK_SECONDS": str(seconds)}
        own["QUICK_BENCH"] = "1" if bench else ""
        own["AUTOTUNE_WORKER_DIRECTORY"] = str(self.folder / "logs")
        return self._start(name, [sys.executable, str(QUICK)], own)

    @staticmethod
    def benches(worker: subprocess.Popen[str]) -> list[psutil.Process]:
        """The bench processes that a worker's template has forked."""
        try:
            below = psutil.Process(worker.pid).children(recursive=True)
            return [child for child in below if "bench.template" in _command_of_parent(child)]
        except psutil.NoSuchProcess:
            return []

    def real_worker(self, name: str) -> subprocess.Popen[str]:
        """Starts a worker as a user would."""
        output = str(self.folder / "studies")
        return self._start(name, [str(AUTOTUNE), "worker", "--name", name, "--output", output], {})

    def _start(self, name: str, command: list[str], own: dict[str, str]) -> subprocess.Popen[str]:
        self._names.append(name)
        with self.log_of(name).open("a") as log:
            return self._spawn(command, own, log)

    def _spawn(
        self, command: list[str], own: dict[str, str], output: IO[str] | int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        self.processes.append(
            subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environment, **own},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return self.processes[-1]

    def log_of(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def cards(self) -> list[WorkerCard]:
        return Broker(self.redis.url).workers()

    def wait_for_workers(self, count: int) -> None:
        wait_for(lambda: len(self.cards()) == count, 60, f"{count} workers are up: {self.logs()}")

    def logs(self) -> str:
        return "\n".join(
            self.log_of(n).read_text() for n in self._names if self.log_of(n).exists()
        )

    def logged(self, name: str) -> list[dict[str, Any]]:
        """What a worker logged, without what Celery prints at its start."""
        lines = self.log_of(name).read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def search_here(self, database: str, trials: int) -> subprocess.Popen[str]:
        """Starts a coordinator that needs no worker."""
        command = [sys.executable, "-m", "fleet_support.quick_search", str(self.study)]
        search_path = str(Path(__file__).parents[1])
        own = {"PYTHONPATH": search_path, "QUICK_SECONDS": "0", "AUTOTUNE_WORKER_NAME": "here"}
        return self._spawn([*command, database, str(trials)], own)

    def search(self, *arguments: object) -> subprocess.Popen[str]:
        """Starts a coordinator."""
        command = [str(AUTOTUNE), "search", "--study", str(self.study), "--resume"]
        command += ["--lease-seconds", str(LEASE_SECONDS), *map(str, arguments)]
        return self._spawn(command, {})

    def recipes_left_running(self) -> list[str]:
        """What Optuna or the store hold to be running."""
        with Store.open(self.database) as store:
            ours = [str(t.recipe) for t in store.trials("s") if t.result is None]
        storage = optuna.storages.RDBStorage(
            parse_url(self.database).render_as_string(hide_password=False)
        )
        study = optuna.load_study(study_name="s", storage=storage)
        theirs = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        storage.engine.dispose()
        return ours + [str(t.params) for t in theirs]

    @staticmethod
    def ended(process: subprocess.Popen[str], seconds: float = 120) -> str:
        """What a coordinator printed, once it has come to a good end."""
        output = process.communicate(timeout=seconds)[0]
        assert process.returncode == 0, output
        return output

    def finished(self) -> dict[int, TrialRecord]:
        with Store.open(self.database) as store:
            trials = store.trials("s") if store.find_study("s") else []
        return {t.number: t for t in trials if t.result is not None}

    def wait_for_trials(self, count: int) -> None:
        wait_for(lambda: len(self.finished()) >= count, 90, f"{count} trials: {self.logs()}")

    def journal(self, what: str) -> Counter[int]:
        """How often each trial was begun, or ended."""
        words = [line.split() for line in self.journal_lines()]
        return Counter(int(number) for kind, number, _ in words if kind == what)

    def journal_lines(self) -> list[str]:
        """What a trial did, its number, and the worker's name, in each."""
        journal = self.folder / "journal.txt"
        return journal.read_text().splitlines() if journal.exists() else []

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
