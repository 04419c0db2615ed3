"""The arrows of ARCHITECTURE.md: who may import whom, and what stays unloaded."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import autotune

ROOT = Path(__file__).parents[1]

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(layer.split())
    for layer in (
        "errors hashing numbers urls processes logs params metrics outcome device statistics "
        "looks pairing presets markdown trust surrogate message strict_yaml",
        "plugin traffic measure_settings messages engine",
        "recipe registry space constraints costs config energy power environment workload demo "
        "roof tables study_plugins",
        "bench execute store",
        "front search report explain dispatch figures export",
        "service openai dashboard launch notebook",
        "cli testing",
    )
)
"""Rooms from the bottom up. A room imports rooms of lower layers only, and besides those:"""

SIDEWAYS: dict[str, str] = {
    "device": "errors",
    "metrics": "errors statistics markdown",
    "looks": "statistics",
    "presets": "errors",
    "engine": "plugin",  # it says no as plugins do
    "traffic": "plugin",  # what a plugin may need of it
    "messages": "traffic measure_settings",  # parts of a trial
    "pairing": "statistics",
    "space": "recipe registry",  # plugins → recipes
    "study_plugins": "config recipe registry space",  # what a study file says of them
    "config": "constraints",  # a study file's constraints are read at the door
    "environment": "registry energy",  # the entry point group; what measures energy is part of it
    "workload": "config",  # the study file's section
    "demo": "workload",  # the cache folder
    "execute": "bench store",  # the protocol; the jobs of the workers
    "report": "front explain",  # what each plugin gave, in the pages
    "search": "front",  # the confirmation repeats what the front holds
    "explain": "front",
    "figures": "front report explain",  # of what these have computed
    "notebook": "launch",  # begins a search as the command line does
    "dispatch": "search report",  # measures points of a front by a search's plan
    "openai": "service",  # how long a body is, and who sends it
    "cli": "testing",  # what installed plugins are held to
    "export": "front search report dispatch",  # serves one point as a table of one
}
"""Room → rooms of its own layer that it may import: never back, so there is no circle."""

FORBIDDEN: dict[str, str] = {
    "store": "workload demo config space registry constraints",  # keeps what it is given
    "front": "bench execute store workload demo config",  # arithmetic on messages
    "report": "bench execute workload demo config",  # shows what is stored
    "explain": "bench execute workload demo config",  # arithmetic on what is stored
    "figures": "bench execute workload demo config",  # as report and explain
    "dashboard": "bench execute workload demo config",  # shows what is stored
    "service": "bench search workload demo",  # a study runs as a command, in its own process
    "openai": "bench execute store search dispatch workload demo config",  # autotune.load does
    "testing": "bench store workload demo config constraints",
    "launch": "bench",  # as the command line
    "notebook": "bench",
    "cli": "bench",  # trials go through an executor
}
"""Downward, and yet not wanted: what a room must be able to do without."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    "optuna": ("search/", "dashboard/"),
    "optuna_dashboard": ("dashboard/",),
    "bottle": ("dashboard/",),
    "celery": ("execute/fleet/",),
    "redis": ("execute/fleet/",),
    "tenacity": ("store/",),
    "sqlalchemy": ("store/", "search/ledger.py", "search/storage.py", "search/trial_tables.py"),
    "alembic": ("store/",),
    "torch": ("bench/", "demo/"),
    "transformers": ("bench/", "demo/"),
    "torchao": (),
    "zeus": ("energy/zeus_process.py",),
    "lm_eval": ("bench/",),
    "threadpoolctl": ("search/",),
    "plotly": ("report/", "notebook/"),
    "pandas": ("notebook/",),
    "typer": ("cli/",),
    "fastapi": ("service/", "openai/"),
    "starlette": ("service/", "openai/"),
    "uvicorn": ("service/", "openai/"),
    "prometheus_client": ("service/",),
    "structlog": ("service/", "logs.py"),
    "rich": ("cli/", "launch/", "notebook/", "report/"),
}
"""Library → where in autotune/ it may be imported, inside functions included."""

PLUGINS_MAY_IMPORT = {"autotune.params", "autotune.plugin", "autotune.device", "autotune.engine"}


def python_files(package: Path) -> list[Path]:
    return sorted(p for p in package.rglob("*.py") if "__pycache__" not in p.parts)


CORE = python_files(ROOT / "autotune")
PLUGINS = python_files(ROOT / "plugins" / "autotune_plugins")
WORKERS = python_files(ROOT / "workers" / "autotune_workers")


@functools.cache
def imported(file: Path) -> frozenset[str]:
    return frozenset(_imported(file))


def _imported(file: Path) -> Iterator[str]:
    """Full names of all modules that a file imports anywhere but for type checking."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped = {id(n) for block in _type_checking(tree) for n in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{file} imports relatively"
            yield from _members(node.module, [alias.name for alias in node.names])


def _type_checking(tree: ast.Module) -> list[ast.If]:
    blocks = (n for n in ast.walk(tree) if isinstance(n, ast.If))
    return [b for b in blocks if isinstance(b.test, ast.Name) and b.test.id == "TYPE_CHECKING"]


def _members(module: str, names: list[str]) -> list[str]:
    """``from autotune import registry`` imports ``autotune.registry``."""
    return [f"autotune.{name}" for name in names] if module == "autotune" else [module]


def room_of(name: str) -> str:
    return name.removeprefix("autotune").lstrip(".").split(".")[0]


def room_of_file(file: Path) -> str:
    return file.relative_to(ROOT / "autotune").parts[0].removesuffix(".py")


def edges() -> Iterator[tuple[str, str, str]]:
    for file in CORE:
        for name in imported(file):
            # `import autotune` is what anybody may do: its names are public.
            if name.startswith("autotune.") and room_of(name) != room_of_file(file):
                yield room_of_file(file), room_of(name), str(file.relative_to(ROOT))


def level(room: str) -> int:
    return next(i for i, rooms in enumerate(LAYERS) if room in rooms)


def allowed(source: str, target: str) -> bool:
    if target in FORBIDDEN.get(source, "").split():
        return False
    return level(target) < level(source) or target in SIDEWAYS.get(source, "").split()


def test_every_room_has_a_layer() -> None:
    rooms = {room_of_file(file) for file in CORE} - {"__init__"}
    assert rooms == frozenset().union(*LAYERS)


def test_rooms_import_downwards_only() -> None:
    bad = {
        f"{where}: {source} -> {target}"
        for source, target, where in edges()
        if source != "__init__" and not allowed(source, target)
    }
    assert not bad


def test_sideways_arrows_are_used() -> None:
    """A line of the table that nothing needs any more goes."""
    real = {(source, target) for source, target, _ in edges()}
    stated = {(s, t) for s, targets in SIDEWAYS.items() for t in targets.split()}
    assert stated <= real


@pytest.mark.parametrize("library", LIBRARIES)
def test_library_is_imported_only_where_it_may_be(library: str) -> None:
    users = {
        str(file.relative_to(ROOT / "autotune"))
        for file in CORE
        if any(name.split(".")[0] == library for name in imported(file))
    }
    assert {u for u in users if not u.startswith(LIBRARIES[library])} == set()


def test_core_imports_neither_plugins_nor_workers() -> None:
    names = {name.split(".")[0] for file in CORE for name in imported(file)}
    assert not names & {"autotune_plugins", "autotune_workers", "plugins", "workers"}


def test_plugins_import_only_what_authors_read() -> None:
    names = {name for file in PLUGINS for name in imported(file) if name.startswith("autotune")}
    own = {name for name in names if name.split(".")[0] == "autotune_plugins"}
    assert names - own <= PLUGINS_MAY_IMPORT


def test_plugins_never_see_the_machinery() -> None:
    names = {name.split(".")[0] for file in PLUGINS for name in imported(file)}
    assert not names & {"optuna", "celery", "sqlalchemy", "pydantic"}


def modules_after(*arguments: str) -> set[str]:
    """What a fresh interpreter has loaded."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines}


HEAVY = {
    *("torch", "transformers", "optuna", "celery", "sqlalchemy", "scipy", "plotly", "lm_eval"),
    *("fastapi", "uvicorn", "prometheus_client", "structlog"),
    *("optuna_dashboard", "bottle", "pandas"),
}


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import autotune"),
        ("-m", "autotune.cli", "--help"),
        ("-c", "import autotune.testing"),
        ("-c", "import autotune.openai"),
        ("-c", "from autotune import energy"),
    ],
    ids=" ".join,
)
def test_start_is_light(arguments: tuple[str, ...]) -> None:
    loaded = modules_after(*arguments)
    assert "autotune" in loaded
    assert not loaded & HEAVY


def test_public_names() -> None:
    assert autotune.__all__ == [
        "AutotuneError",
        "Choice",
        "Context",
        "Float",
        "InputError",
        "Int",
        "Plugin",
        "Requires",
        "Stage",
        "Unsupported",
        "load",
        "open_study",
        "search",
    ]
    assert all(hasattr(autotune, name) for name in autotune.__all__)


@pytest.mark.parametrize("package", ["autotune", "plugins", "workers", "tests"])
def test_no_file_is_longer_than_400_lines(package: str) -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for file in python_files(ROOT / package)
    }
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in [*CORE, *PLUGINS, *WORKERS]
        if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not silent
