"""The catalogue is complete, and the default objectives are in it."""

from __future__ import annotations

import pytest

from autotune.config import TASKS
from autotune.errors import InputError
from autotune.metrics import AIMS, METRICS, Family, Metric, metric, objective
from autotune.metrics.document import page, resolution
from autotune.metrics.elsewhere import FALSE_FRIENDS, TOOLS

UNITS_OF_NAMES = {
    "_seconds": "s",
    "_bytes": "B",
    "_joules": "J",
    "_watts": "W",
    "_nats": "nat",
    "_per_second": "1/s",
    "_bytes_per_second": "B/s",
    "_flops_per_second": "FLOP/s",
    "_flops": "FLOP",
    "_utilization": "ratio",
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
@pytest.mark.parametrize("aim", AIMS)
def test_aims_stand_for_an_objective_of_the_task(task: str, kind: str, aim: str) -> None:
    found = metric(objective(aim, task, kind))
    assert found.is_goal
    assert not found.tasks or task in found.tasks
    assert not (kind == "cpu" and found.name.startswith("device_"))


def test_a_metric_stands_for_itself() -> None:
    assert {objective(name, "causal-lm", "cpu") for name in METRICS} == set(METRICS)


def test_metric_unknown_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'kld_mean_nats'"):
        metric("kld_mean_nat")


def test_page_has_a_row_for_every_metric() -> None:
    lines = page().splitlines()
    for found in METRICS.values():
        (row,) = (ln for ln in lines if ln.startswith(f"| `{found.name}` | {found.unit} |"))
        assert found.formula.replace("*", "\\*") in row
        assert resolution(found) in row


def test_tables_have_the_same_columns_in_every_row() -> None:
    for table in page().split("\n\n"):
        rows = [row for row in table.splitlines() if row.startswith("|")]
        assert len({row.count(" | ") for row in rows}) <= 1


@pytest.mark.parametrize("found", METRICS.values(), ids=lambda m: m.name)
def test_metric_is_named_only_in_tools_that_are_known(found: Metric) -> None:
    assert set(found.elsewhere) <= set(TOOLS)
    assert isinstance(hash(found), int)


def test_tpot_has_its_name_in_every_tool() -> None:
    assert metric("tpot_seconds").elsewhere == {
        "vLLM": "mean_tpot_ms",
        "guidellm": "inter_token_latency_ms",
        "aiperf": "inter_token_latency",
        "MLPerf": "TPOT",
    }


def test_false_friends_are_no_names_of_ours() -> None:
    for friend in FALSE_FRIENDS:
        assert friend.name != metric(friend.ours).elsewhere.get(friend.tool)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ttft_seconds", ""),
        ("weights_bytes", "0.1 %"),
        ("kld_mean_nats", "0.0001 nat"),
        ("embedding_cosine_distance", "1e-05"),
        ("host_model_peak_bytes", "hypot(4 MiB, 2 %)"),
    ],
)
def test_resolution_in_words(name: str, words: str) -> None:
    assert resolution(metric(name)) == words
