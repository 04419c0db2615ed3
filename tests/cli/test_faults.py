"""A plugin that goes wrong costs exactly its own trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.outcome import Outcome
from autotune.store import Store

FAULTY = Path(__file__).parents[1] / "fixtures" / "faulty"
EXPECTED = {
    "raise": (Outcome.CRASHED, "plugin 'faulty' raised in transform"),
    "hang": (Outcome.TIMEOUT, "prepare took longer than 30 s"),
    "segfault": (Outcome.CRASHED, "was killed by SIGSEGV during prepare"),
    "eat_memory": (Outcome.OUT_OF_MEMORY, "plugin 'faulty' ran out of memory in transform"),
    "nan": (Outcome.INVALID_OUTPUT, "not finite"),
}


@pytest.mark.slow
def test_every_fault_is_stored_with_its_explanation_and_the_study_goes_on(
    autotune: Callable[..., Any],
    study: Callable[..., Path],
    install: Callable[[Path, Path], Path],
    tmp_path: Path,
) -> None:
    faulty = install(FAULTY, tmp_path / "site")
    measure = {
        "block_seconds": 0.02,
        "max_pairs": 6,
        "prepare_timeout_seconds": 30,
        "memory_limit_bytes": 3 << 30,
    }
    path = study(plugins={"faulty": {}}, measure=measure)

    done = autotune("search", "--study", path, plugins=[faulty])

    assert done.returncode == 0, done.stderr
    with Store.open_existing(f"sqlite:///{tmp_path}/studies/autotune.db") as store:
        trials = store.trials("s")
    results = {t.recipe["faulty"]["how"]: t.result for t in trials if t.recipe}
    assert results.keys() == EXPECTED.keys()
    for how, (outcome, words) in EXPECTED.items():
        result = results[how]
        assert result is not None
        assert result.outcome is outcome, f"{how}: {result.explanation}"
        assert words in result.explanation
        assert Path(result.log).is_file()
    assert "pool exhausted: all 6 recipes were tried" in done.stdout
