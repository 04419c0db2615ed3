"""The catalogue is complete, and the default objectives are in it."""

from __future__ import annotations

import pytest

from autotune.config import TASKS
from autotune.errors import InputError
from autotune.metrics import METRICS, Family, Metric, default_objectives, metric

UNITS_OF_NAMES = {
    "_seconds": "s",
    "_bytes": "B",
    "_joules": "J",
    "_watts": "W",
    "_nats": "nat",
    "_per_second": "1/s",
    "_ratio": "ratio",
}


@pytest.mark.parametrize("found", METRICS.values(), ids=lambda m: m.name)
def test_metric_says_what_it_is(found: Metric) -> None:
    assert found.formula
    assert found.unit
    assert found.label
    assert set(found.tasks) <= set(TASKS)
    assert found.resolution >= 0
    assert 0 <= found.resolution_ratio < 1


@pytest.mark.parametrize("found", METRICS.values(), ids=lambda m: m.name)
def test_metric_has_the_unit_that_its_name_says(found: Metric) -> None:
    units = [unit for suffix, unit in UNITS_OF_NAMES.items() if found.name.endswith(suffix)]
    assert found.unit in units or not units


def test_labels_are_unique() -> None:
    assert len({m.label for m in METRICS.values()}) == len(METRICS)


def test_every_family_has_a_metric() -> None:
    assert {m.family for m in METRICS.values()} == set(Family)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_default_objectives_exist_for_the_task(task: str, kind: str) -> None:
    found = [metric(name) for name in default_objectives(task, kind)]
    assert all(not m.tasks or task in m.tasks for m in found)
    assert [m.family for m in found] == [
        Family.SPEED,
        Family.MEMORY,
        Family.ENERGY,
        Family.ACCURACY,
    ]


def test_metric_unknown_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'kld_mean_nats'"):
        metric("kld_mean_nat")
