from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from autotune.demo.child import train_in_child
from autotune.execute.template import end_templates
from fleet_support.servers import PostgresServer

# More threads than cores: those that spin while they wait take the cores from those that work.
# Read when torch is loaded, here and in every child process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

AUTOTUNE = Path(sys.executable).with_name("autotune")

RunAutotune = Callable[..., subprocess.CompletedProcess[str]]
WriteStudy = Callable[..., Path]

QUICK = {
    "workload": {
        "prompt_tokens": 16,
        "new_tokens": 4,
        "evaluation_positions": 256,
        "evaluation_window_tokens": 64,
        "calibration_sequences": 4,
    },
    "measure": {
        "block_seconds": 0.02,
        "max_pairs": 6,
        "warmup_blocks": 3,
        # Such short blocks would all be of grade C.
        "worst_half_width_ratio": 1000,
        "worst_contention_ratio": 1,
        "energy_window_seconds": 0.05,
        "energy_windows": 6,
    },
    "confirm": {"processes": 0},
}
"""Enough to go through every phase, not enough to trust the numbers."""


@pytest.fixture(scope="session")
def quick_keys() -> dict[str, Any]:
    """Those of a study file, for a search as a function call."""
    return QUICK


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each of pytest-xdist's workers begins with its share of the slow tests, so that none ends
    up alone with several of them: at first, each gets as many tests in a row as any other."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        share = slow[worker::workers]
        size = (len(items) - len(ordered)) // (workers - worker)
        rest = max(0, size - len(share))
        ordered += share + quick[:rest]
        del quick[:rest]
    items[:] = ordered + quick


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model really trained for about ten seconds, once for all of pytest-xdist's workers;
    AUTOTUNE_TEST_MODEL names one to reuse."""
    reused = os.environ.get("AUTOTUNE_TEST_MODEL")
    if reused:
        return Path(reused)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory = shared / "demo" / "tiny"
    directory.parent.mkdir(exist_ok=True)
    with FileLock(shared / "demo.lock"):
        if not directory.is_dir():
            train_in_child(directory, "tiny")
    return directory


@pytest.fixture(scope="session", autouse=True)
def one_device_for_each_worker(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trials of one device wait for each other through a lock in the temporary folder: each of
    pytest-xdist's workers has its own, and one thread. No test looks at how fast anything is."""
    folder = tmp_path_factory.mktemp("locks")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the tests' own, for this process and all its children."""
    directory = tmp_path_factory.mktemp("cache")
    os.environ["AUTOTUNE_CACHE_DIR"] = str(directory)
    os.environ["HF_DATASETS_CACHE"] = str(directory / "datasets")  # lm-eval's
    return directory


@pytest.fixture(scope="session")
def install() -> Callable[[Path, Path], Path]:
    """Installs a distribution really, with pip, into a folder to be put on PYTHONPATH."""

    def install_into(distribution: Path, target: Path) -> Path:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        offline = ["--no-index", "--no-deps", "--no-build-isolation"]
        subprocess.run([*pip, *offline, "--target", str(target), str(distribution)], check=True)
        return target

    return install_into


@pytest.fixture
def childless() -> None:
    """For tests that look at this process's children: earlier tests may have left the template of
    their bench processes."""
    end_templates()


@pytest.fixture
def autotune(tmp_path: Path) -> RunAutotune:
    """Runs the installed command in a folder of the test's own."""

    def run(
        *arguments: object, plugins: Sequence[Path] = (), timeout: float = 280
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(AUTOTUNE), *map(str, arguments)],
            cwd=tmp_path,
            env=with_plugins(plugins),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def with_plugins(folders: Sequence[Path]) -> dict[str, str]:
    """The environment in which distributions installed into these folders are found."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}


@pytest.fixture
def study(tmp_path: Path, tiny_model: Path) -> WriteStudy:
    """Writes a study file, of the tiny model unless the keys name another."""

    def write(**keys: Any) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({"name": "s", "model": str(tiny_model), **QUICK, **keys}))
        return path

    return write


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """Not for the whole session: other tests look at this process's children and their memory."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/autotune.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()
