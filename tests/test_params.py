"""The values that each kind of param has, allows and describes."""

from __future__ import annotations

import pytest

from autotune.params import Choice, Float, Int, Param, Params, Scalar, Stage

CHOICE = Choice("a", "b", default="a", stage=Stage.SETUP)
LOG = Int(1, 64, default=1, log=True, stage=Stage.RUN)
STEP = Int(2, 10, default=2, step=4, stage=Stage.RUN)
FLOAT = Float(0.0, 0.5, default=0.0, step=0.1, stage=Stage.MODEL)


@pytest.mark.parametrize(
    ("param", "values"),
    [
        (CHOICE, ("a", "b")),
        (LOG, (1, 2, 4, 8, 16, 32, 64)),
        (Int(3, 40, default=3, log=True, stage=Stage.RUN), (3, 6, 12, 24)),
        (STEP, (2, 6, 10)),
        (FLOAT, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
        (Float(0.0, 0.5, default=0.0, step=0.2, stage=Stage.MODEL), (0.0, 0.2, 0.4)),
        (Int(5, 4, default=5, stage=Stage.RUN), ()),
        (Int(0, 8, default=0, log=True, stage=Stage.RUN), ()),
        (Float(0.0, 1.0, default=0.0, step=0.0, stage=Stage.RUN), ()),
    ],
)
def test_values(param: Param, values: tuple[Scalar, ...]) -> None:
    assert param.values() == values


@pytest.mark.parametrize("low", range(1, 20))
def test_log_values_never_leave_the_range(low: int) -> None:
    for high in range(low, 200):
        values = Int(low, high, default=low, log=True, stage=Stage.RUN).values()
        assert values[0] == low
        assert high / 2 < float(values[-1]) <= high


@pytest.mark.parametrize(
    ("param", "value", "allowed"),
    [
        (CHOICE, "b", True),
        (CHOICE, "c", False),
        (Choice(1, 2, default=1, stage=Stage.RUN), True, False),
        (Choice(True, False, default=False, stage=Stage.RUN), 1, False),
        (LOG, 48, True),  # of the range, though the search takes only doublings
        (LOG, 65, False),
        (LOG, 4.0, False),
        (LOG, True, False),
        (LOG, "4", False),
        (FLOAT, 0.25, True),
        (FLOAT, 0, True),
        (FLOAT, 0.6, False),
        (FLOAT, True, False),
        (FLOAT, float("nan"), False),
    ],
)
def test_contains(param: Param, value: Scalar, allowed: bool) -> None:
    assert param.contains(value) is allowed


@pytest.mark.parametrize("param", [CHOICE, LOG, STEP, FLOAT])
def test_every_value_is_contained(param: Param) -> None:
    assert all(param.contains(value) for value in param.values())


def test_describe_says_what_is_allowed() -> None:
    assert CHOICE.describe() == "a, b"
    assert LOG.describe() == "1 to 64, searched by doubling"
    assert STEP.describe() == "2 to 10, searched in steps of 4"
    assert FLOAT.describe() == "0.0 to 0.5, searched in steps of 0.1"


@pytest.mark.parametrize(
    ("params", "active"),
    [
        ({"scheme": "int4"}, True),
        ({"scheme": "int8"}, True),
        ({"scheme": "none"}, False),
        ({}, False),
    ],
)
def test_active_respects_the_condition(params: Params, active: bool) -> None:
    group = Choice(32, 64, default=32, stage=Stage.MODEL, when={"scheme": ("int4", "int8")})
    assert group.active(params) is active


def test_active_needs_every_part_of_the_condition() -> None:
    param = Choice(1, 2, default=1, stage=Stage.RUN, when={"a": "x", "b": "y"})
    assert param.active({"a": "x", "b": "y"})
    assert not param.active({"a": "x", "b": "z"})
    assert not param.active({"a": "x"})


def test_changes_output_follows_the_stage_unless_declared() -> None:
    assert FLOAT.changes_output
    assert not CHOICE.changes_output
    lossy = Choice("a", "b", default="a", stage=Stage.RUN, affects_accuracy=True)
    assert lossy.changes_output
