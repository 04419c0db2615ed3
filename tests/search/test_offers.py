"""What plugins say of a machine and a model, and how it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from autotune.cli.__main__ import app
from autotune.registry import installed
from autotune.search.offers import Offer, Place
from autotune.space import NEEDS_CONSENT, Refusal
from autotune.testing import fake_device

CPU = fake_device("cpu")


def test_a_plugin_whose_every_choice_is_refused_does_not_apply() -> None:
    power = installed().get("power")
    on_gpus = Place(fake_device("cuda"))
    refused = on_gpus.offer(power)
    assert not refused.possible
    assert NEEDS_CONSENT in refused.in_words(99)
    assert refused.in_words(99).startswith("no: ")
    allowed = on_gpus.offer(power, allow_power_changes=True)
    assert allowed.possible
    assert NEEDS_CONSENT not in allowed.in_words(99)
    assert allowed.in_words().startswith("yes; refused: ")


def test_a_plugin_that_refuses_nothing_applies() -> None:
    batch = Place(CPU).offer(installed().get("batch"))
    assert (batch.refused, batch.in_words()) == ((), "yes")
    cached = Place(CPU).offer(installed().get("result_cache"))
    assert cached.in_words() == "yes, with a workload with requests that repeat"


def test_what_the_model_decides_is_asked_of_the_model() -> None:
    precision = installed().get("precision")
    for dtype, other in (("bfloat16", "float32"), ("float32", "bfloat16")):
        found = Place(CPU, "causal-lm", {"dtype": dtype}).offer(precision)
        assert {"dtype": dtype} not in found.possible
        assert {"dtype": other} in found.possible
    (whole,) = Place(CPU, "feature-extraction", {}).offer(installed().get("speculative")).refused
    assert (whole.params, "not feature-extraction" in whole.reason) == ({}, True)


def test_reasons_are_counted_and_the_most_frequent_comes_first() -> None:
    refused = [Refusal("p", {"a": n}, f"why {min(n, 3)}") for n in range(6)]
    some = Offer(({"a": 7},), tuple(refused), "")
    told = "yes; refused: 6 of 7 choices (why 3; why 0; and 2 more reasons)"
    assert some.in_words(2) == told
    assert Offer((), tuple(refused[:2]), "").in_words(1) == "no: why 0; and 1 more reason"


def listed(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["plugins", "list", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_list_tells_of_the_model_that_is_named(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: dict[str, Any] = {
        row["name"]: row for row in json.loads(listed("--model", str(tiny_model), "--json"))
    }
    narrow = {"dtype": "float32"}
    assert narrow in [one["params"] for one in rows["precision"]["refused"]]
    assert rows["precision"]["possible_choices"] == 2
    assert rows["power"]["here"].startswith("no: ")
    assert all(one["reason"] for row in rows.values() for one in row["refused"])
    monkeypatch.setenv("COLUMNS", "300")
    shown = listed("--device", "cpu")
    assert "for a Llama of 8 billion parameters in bfloat16; --model M asks for yours" in shown
    assert "yes; refused: 1 of 3 choices (the checkpoint is already bfloat16" in shown
