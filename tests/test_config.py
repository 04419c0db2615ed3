"""The study file: everything wrong is said at the door, with what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from autotune.config import Budget, StudyFile, build_study, read_study
from autotune.errors import InputError
from autotune.hashing import sha256_json


def build(**given: Any) -> StudyFile:
    return build_study({"model": "demo", **given}, "study.yaml")


def refusal(**given: Any) -> str:
    with pytest.raises(InputError) as caught:
        build(**given)
    assert str(caught.value).startswith("study.yaml: ")
    return str(caught.value)


def test_model_alone_is_a_study() -> None:
    study = build()
    assert (study.task, study.device, study.plugins) == ("auto", "auto", None)
    assert (study.sampler, study.seed, study.trust_remote_code) == ("autotune", 0, False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"modle": "x"}, "no key named 'modle'; did you mean 'model'?"),
        ({"workload": {"prompt_token": 5}}, "did you mean 'workload.prompt_tokens'?"),
        ({"measure": {"blocksecond": 1}}, "did you mean 'measure.block_seconds'?"),
        ({"budget": {"trails": 5}}, "did you mean 'budget.trials'?"),
        ({"budget": {"hours": 5}}, "no key named 'budget.hours'"),
    ],
)
def test_unknown_key_is_refused_with_a_suggestion(given: dict[str, Any], words: str) -> None:
    assert words in refusal(**given)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"model": ""}, "model: "),
        ({"model": 5}, "model: "),
        ({"task": "translation"}, "task: "),
        ({"budget": {"trials": 0}}, "budget.trials: "),
        ({"budget": {"trials": -1}}, "budget.trials: "),
        ({"budget": {"trials": 1.5}}, "budget.trials: "),
        ({"budget": {"minutes": 0}}, "budget.minutes: "),
        ({"budget": {"gpu_hours": 0}}, "budget.gpu_hours: "),
        ({"budget": {"kwh": -1}}, "budget.kwh: "),
        ({"budget": {"patience_trials": 0}}, "budget.patience_trials: "),
        ({"budget": {"patience_growth_ratio": 0.1}}, "without budget.patience_trials"),
        ({"budget": {"minutes": float("nan")}}, "budget.minutes: "),
        ({"budget": 5}, "budget: "),
        ({"workload": {"prompt_tokens": 0}}, "workload.prompt_tokens: "),
        ({"workload": {"evaluation_positions": 63}}, "workload.evaluation_positions: "),
        ({"measure": {"min_pairs": 2}}, "measure.min_pairs: "),
        ({"measure": {"memory_limit_bytes": 0}}, "measure.memory_limit_bytes: "),
        ({"plugins": "batch"}, "plugins: "),
        ({"plugins": {"batch": 8}}, "plugins.batch: "),
        ({"plugins": {"batch": {"size": {"low": 1}}}}, "plugins.batch.size.0"),
        ({"constraints": "kld_mean_nats<=1"}, "constraints: "),
        ({"seed": "many"}, "seed: "),
        ({"seed": -1}, "seed: "),
        ({"seed": 2**31}, "seed: "),
        ({"plugins": ["batch", {"prune": {}}]}, "plugins is a list of names, or maps names to"),
        ({"plugins": [["batch"]]}, "plugins is a list of names, or maps names to"),
        ({"trust_remote_code": "perhaps"}, "trust_remote_code: "),
    ],
)
def test_bad_value_is_refused_saying_where(given: dict[str, Any], where: str) -> None:
    assert where in refusal(**given)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "where",
    [
        "seed",
        "budget.trials",
        "budget.minutes",
        "budget.gpu_hours",
        "budget.kwh",
        "budget.patience_growth_ratio",
        "workload.prompt_tokens",
        "workload.evaluation_positions",
        "measure.block_seconds",
        "measure.target_half_width_ratio",
        "measure.prepare_timeout_seconds",
        "measure.memory_limit_bytes",
        "plugins.batch.size",
    ],
)
def test_number_that_is_not_finite_is_refused(where: str, number: float) -> None:
    given: Any = number
    for part in reversed(where.split(".")):
        given = {part: given}
    assert where in refusal(**given)


def test_seed_may_be_the_largest() -> None:
    assert build(seed=2**31 - 1).seed == 2**31 - 1


def test_missing_model_is_refused() -> None:
    with pytest.raises(InputError, match="model: Field required"):
        build_study({}, "study.yaml")


def test_bad_value_is_shown() -> None:
    assert "budget.trials: Input should be greater than 0 (given: 0)" in refusal(
        budget={"trials": 0}
    )


def test_every_mistake_is_named_at_once() -> None:
    words = refusal(modle="x", budget={"trials": 0})
    assert "modle" in words
    assert "budget.trials" in words


@pytest.mark.parametrize("name", ["a", "llama-3.2_cpu", "0", "A" * 100, ""])
def test_name_accepts(name: str) -> None:
    assert build(name=name).name == name


@pytest.mark.parametrize(
    "name", ["..", ".hidden", "-x", "a/b", "a b", "a\n", "naïve", "a" * 101, "../up", "C:\\x"]
)
def test_name_refuses_what_is_no_folder_name(name: str) -> None:
    assert "name: " in refusal(name=name)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ({}, {}),
        ([], {}),
        (["batch", "prune"], {"batch": {}, "prune": {}}),
        ({"batch": None}, {"batch": {}}),
        ({"batch": {}}, {"batch": {}}),
        ({"batch": {"size": 8}}, {"batch": {"size": (8,)}}),
        ({"batch": {"size": [1, 8]}}, {"batch": {"size": (1, 8)}}),
        ({"q": {"scheme": "int8"}}, {"q": {"scheme": ("int8",)}}),
    ],
)
def test_plugins_forms(given: Any, expected: Any) -> None:
    assert build(plugins=given).plugins == expected


def test_plugin_values_keep_their_types() -> None:
    study = build(plugins={"p": {"x": [1, 1.0, True, "1"]}})
    assert study.plugins is not None
    assert [type(v) for v in study.plugins["p"]["x"]] == [int, float, bool, str]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["kld_nats<=1"], "no metric named 'kld_nats'"),
        (["kld_mean_nats < 1"], "cannot read the constraint"),
        (["weights_bytes>=6", "weights_bytes<=5"], "contradict each other"),
    ],
)
def test_constraints_are_read_at_the_door(given: list[str], words: str) -> None:
    assert words in refusal(constraints=given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["speed"], "no metric named 'speed'"),
        (["througput"], "or an aim: throughput, latency"),
        ([], "objectives must name at least one metric"),
        (["ttft_seconds", "ttft_seconds"], "each once"),
    ],
)
def test_objectives_are_checked(given: list[str], words: str) -> None:
    assert words in refusal(objectives=given)


def test_study_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        build().seed = 5  # type: ignore[misc]


def test_definition_leaves_out_name_and_worker() -> None:
    one = build(name="a", budget={"trials": 5}, plugins={"batch": {"size": 8}})
    other = build(name="b", budget={"trials": 5}, plugins={"batch": {"size": [8]}}, worker="w")
    assert one.definition() == other.definition()
    assert one.definition() != build(seed=1).definition()
    assert json.loads(json.dumps(one.definition())) == one.definition()
    assert sha256_json(one.definition())


def test_read_study(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("model: demo\nplugins: [batch]\nbudget: {trials: 3}\n", encoding="utf-8")
    study = read_study(file)
    assert (study.plugins, study.budget) == ({"batch": {}}, Budget(trials=3))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must hold keys and values"),
        ("- model", "must hold keys and values"),
        ("demo", "must hold keys and values"),
        ("model: [", "is not valid YAML"),
        ("model: demo\nmodel\n", "is not valid YAML"),
        ("model: !!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("modell: demo", "did you mean 'model'"),
    ],
)
def test_read_study_refuses(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_study(file)


def test_read_study_refuses_what_is_no_file(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.yaml", tmp_path, binary):
        with pytest.raises(InputError, match="the study file"):
            read_study(path)


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[1] / "studies").glob("*.yaml")))
def test_shipped_studies_are_valid(file: Path) -> None:
    assert read_study(file).model
