"""A study as real ones look, in a real database of either kind, and the real server on it."""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autotune.messages import BlockPair, Grade, Measurement, TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.testing import fake_result
from laboratory import Lab

AUTOTUNE = Path(sys.executable).with_name("autotune")
HOSTILE = "died in <img src=x onerror=alert(1)> | *and* `more`\nlast line"


def study_in(folder: Path, url: str, trials: int = 24) -> Lab:
    """Searches: some recipes crash, some are outside a constraint, values have intervals."""
    lab = Lab(folder, url)
    rng = random.Random(1)

    def run(spec: TrialSpec) -> TrialResult:
        if spec.recipe.get("quantize", {}).get("group") == 64:
            failed = fake_result(spec, Outcome.CRASHED)
            return failed.model_copy(update={"explanation": HOSTILE})
        log = folder / "studies" / "first" / "logs" / f"{spec.number:05d}-candidate.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"log of trial {spec.number}\n")
        return noisy(lab.measure(spec), rng).model_copy(update={"log": str(log)})

    lab.search(lab.plan(budget={"trials": trials}, constraints=["kld_mean_nats<=0.1"]), run)
    return lab


def noisy(result: TrialResult, rng: random.Random) -> TrialResult:
    """The same, with intervals and raw blocks; outside the constraint it is infeasible."""
    speed = "output_tokens_per_second"
    metrics = {n: _spread(m, 0.02 if n == speed else 0.0) for n, m in result.metrics.items()}
    base = {"output_tokens_per_second": 100.0}
    pairs = tuple(
        BlockPair(
            candidate={speed: (metrics[speed].value or 0) * rng.uniform(0.98, 1.02)},
            reference=base,
            candidate_first=bool(i % 2),
        )
        for i in range(6)
    )
    kld = metrics["kld_mean_nats"].value or 0.0
    outcome = Outcome.OK if kld <= 0.1 else Outcome.INFEASIBLE
    why = "" if kld <= 0.1 else f"kld_mean_nats is {kld:g}, wanted kld_mean_nats<=0.1"
    more = {"metrics": metrics, "blocks": pairs, "outcome": outcome, "explanation": why}
    return result.model_copy(update={**more, "phase_seconds": {"prepare": 2.0, "measure": 9.0}})


def _spread(found: Measurement, half: float) -> Measurement:
    value = found.value or 0.0
    if not half:
        return found
    ends = {"ci_low": value * (1 - half), "ci_high": value * (1 + half)}
    return found.model_copy(update={**ends, "stat": "median", "grade": Grade.A})


@dataclass(frozen=True)
class Page:
    """A dashboard that answers."""

    url: str
    """Of its page."""
    process: subprocess.Popen[str]

    @property
    def root(self) -> str:
        return self.url.partition("/dashboard")[0]

    @property
    def study_id(self) -> int:
        found = re.search(r"/studies/(\d+)", self.url)
        return int(found[1]) if found else 1

    def ask(
        self, path: str, method: str = "GET", body: Any = None, **headers: str
    ) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, headers, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def detail(self, after: int = 0) -> dict[str, Any]:
        status, body = self.ask(f"/api/studies/{self.study_id}?after={after}")
        assert status == 200
        found: dict[str, Any] = json.loads(body)
        return found


@contextlib.contextmanager
def served(*arguments: object) -> Iterator[Page]:
    """Starts the command as a person would."""
    command = [str(AUTOTUNE), "dashboard", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, line
            yield Page(found[0], process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


@pytest.fixture
def serve() -> Callable[..., AbstractContextManager[Page]]:
    return served


@pytest.fixture
def lab(database: str, tmp_path: Path) -> Lab:
    """A study in SQLite and in PostgreSQL."""
    return study_in(tmp_path, database)


@pytest.fixture(scope="module")
def sqlite_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return study_in(tmp_path_factory.mktemp("dashboard"), "")


@pytest.fixture(scope="module")
def page(sqlite_lab: Lab) -> Iterator[Page]:
    """A dashboard that is only read."""
    output = sqlite_lab.folder / "studies"
    with served("first", "--database", sqlite_lab.url, "--output", output) as found:
        yield found
