"""The error tree and the words of an unknown name."""

from __future__ import annotations

import pytest

from autotune.errors import (
    AutotuneError,
    BenchError,
    InputError,
    PluginError,
    StoreError,
    unknown_name,
)
from autotune.outcome import Outcome
from autotune.plugin import Unsupported


@pytest.mark.parametrize("kind", [InputError, PluginError, StoreError, BenchError, Unsupported])
def test_every_error_has_one_root(kind: type[Exception]) -> None:
    assert issubclass(kind, AutotuneError)


def test_input_errors_are_value_errors() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(PluginError, InputError)
    assert not issubclass(StoreError, ValueError)


def test_bench_error_carries_the_outcome() -> None:
    error = BenchError(Outcome.TIMEOUT, "prepare took longer than 600 s")
    assert error.outcome is Outcome.TIMEOUT
    assert str(error) == error.explanation == "prepare took longer than 600 s"


def test_unknown_name_suggests_the_nearest() -> None:
    words = unknown_name("plugin", "precison", ["prune", "precision", "batch"])
    assert words == (
        "no plugin named 'precison'; did you mean 'precision'? allowed: batch, precision, prune"
    )


def test_unknown_name_without_a_near_one() -> None:
    assert unknown_name("plugin", "zzz", ["batch"]) == "no plugin named 'zzz'; allowed: batch"
    assert unknown_name("study", "x", []) == "no study named 'x'; allowed: none"
