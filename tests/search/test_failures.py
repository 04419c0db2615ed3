"""What will probably fail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autotune.search.failures import Failures
from autotune.search.features import make_features
from autotune.search.observation import Observation, Observations
from autotune.search.pool_code import Integers, PoolCode

MEMORY = "device_peak_process_bytes"
LIMIT = 2.5e6


def peak(code: PoolCode, index: int) -> float:
    """Grows with the batch and shrinks with the weights; the sum has no plane for a border."""
    on = code.recipes[index].to_dict()
    bits = {"int8": 8.0, "int4": 4.0}.get(str(on.get("quantize", {}).get("scheme")), 32.0)
    kept = 1 - float(on.get("prune", {}).get("ratio", 0.0))
    return 1e6 * bits / 32 * kept + 3e5 * float(on.get("batch", {}).get("size", 1))


def tried(code: PoolCode, indices: Integers, failures: Failures) -> None:
    for index in indices.tolist():
        needed = peak(code, index)
        burst = needed > LIMIT
        seen = Observation({} if burst else {MEMORY: (needed, 0.0)}, failed=burst)
        if burst:
            seen = Observation(failed=True, feasible=False, out_of_memory=True)
        failures.learn(np.array([index]), Observations.one(seen), np.array([burst]))


def test_memory_of_what_ran_tells_what_will_fit(code_of: Callable[..., PoolCode]) -> None:
    """Nothing that fails is left, and with it fewer that would work are left out."""
    code = code_of()
    fits = np.array([peak(code, i) <= LIMIT for i in range(len(code.recipes))])
    left_out = {}
    for memory in (None, MEMORY):
        left_out[memory] = 0
        for seed in range(4):
            order = np.random.default_rng(seed).permutation(len(code.recipes))
            failures = Failures(make_features(code, {}), memory)
            tried(code, order[:24], failures)
            kept = failures.likely_to_work(order[24:])
            assert fits[kept].all()
            left_out[memory] += fits[order[24:]].sum() - len(kept)
    assert left_out[MEMORY] < left_out[None]


def test_nothing_is_left_out_before_something_failed(code_of: Callable[..., PoolCode]) -> None:
    code = code_of()
    failures = Failures(make_features(code, {}), MEMORY)
    every = np.arange(len(code.recipes))
    tried(code, every[[peak(code, i) <= LIMIT for i in every.tolist()]][:5], failures)
    assert failures.likely_to_work(every) is every


def test_other_failures_say_nothing_of_memory(code_of: Callable[..., PoolCode]) -> None:
    code = code_of()
    failures = Failures(make_features(code, {}), MEMORY)
    small = [i for i in range(len(code.recipes)) if peak(code, i) <= LIMIT]
    tried(code, np.array(small[:10]), failures)
    crash = Observations.one(Observation(failed=True, feasible=False))
    failures.learn(np.array(small[10:11]), crash, np.array([True]))
    assert failures._expected_peaks(np.arange(5)).shape == (5, 0)
