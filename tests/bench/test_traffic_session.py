"""A workload's traffic through a bench session: the same tokens for all, each request timed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autotune.bench.protocol import Operation, Request
from autotune.bench.session import Session
from autotune.bench.tokens import load_tokens
from autotune.config import WorkloadFile
from autotune.demo.adapters import write_adapters
from autotune.errors import InputError
from autotune.measure_settings import MeasureSettings
from autotune.messages import ModelRef, RecipeDict, TrialSpec, Workload
from autotune.testing.fakes import fake_spec
from autotune.traffic import Traffic
from autotune.workload.model import read_config
from autotune.workload.text import build_workload
from bench_line import NOBODY

TRAFFIC = Traffic(
    requests=6,
    prompt_tokens_spread_ratio=0.5,
    new_tokens_spread_ratio=0.5,
    repeat_ratio=0.34,
    shared_prefix_tokens=4,
)


@pytest.fixture
def model(tiny_model: Path) -> ModelRef:
    return ModelRef(path=str(tiny_model), name="m", task="causal-lm", fingerprint="0" * 64)


def workload_of(model: ModelRef, traffic: Traffic | None) -> Workload:
    given = WorkloadFile(
        prompt_tokens=12, new_tokens=4, evaluation_positions=64, calibration_sequences=2,
        evaluation_window_tokens=32, traffic=traffic,
    )  # fmt: skip
    return build_workload(given, model, seed=3)


def test_requests_are_cut_from_the_text_as_they_are_drawn(model: ModelRef) -> None:
    cpu = torch.device("cpu")
    tokens = load_tokens(model, workload_of(model, TRAFFIC), cpu)
    again = load_tokens(model, workload_of(model, TRAFFIC), cpu)
    drawn = TRAFFIC.draw(12, 4, seed=3)
    assert [len(r.prompt) for r in tokens.traffic] == [one.prompt_tokens for one in drawn]
    assert [r.new_tokens for r in tokens.traffic] == [one.new_tokens for one in drawn]
    beginnings = {tuple(r.prompt[:4].tolist()) for r in tokens.traffic}
    assert len(beginnings) == 1
    different = {tuple(r.prompt.tolist()) for r in tokens.traffic}
    assert len(different) == len({one.text for one in drawn}) == 4
    for one, other in zip(tokens.traffic, again.traffic, strict=True):
        assert torch.equal(one.prompt, other.prompt)


def test_a_workload_without_traffic_has_the_prompts_that_it_had(model: ModelRef) -> None:
    cpu = torch.device("cpu")
    plain = load_tokens(model, workload_of(model, None), cpu)
    assert plain.traffic == ()
    with_traffic = load_tokens(model, workload_of(model, TRAFFIC), cpu)
    assert torch.equal(plain.prompts["input_ids"], with_traffic.prompts["input_ids"])


def test_the_longest_request_must_fit_the_model(model: ModelRef) -> None:
    limit = read_config(Path(model.path))["max_position_embeddings"]
    longer = Traffic(prompt_tokens_spread_ratio=0.5, new_tokens_spread_ratio=0.5)
    given = WorkloadFile(prompt_tokens=limit * 3 // 4, new_tokens=8, calibration_sequences=2)
    build_workload(given, model, seed=0)
    wanted = round(given.prompt_tokens * 1.5) + 12
    with pytest.raises(InputError, match=rf"prompt_tokens \+ new_tokens = {wanted} is more than"):
        build_workload(given.model_copy(update={"traffic": longer}), model, seed=0)


def test_traffic_is_for_models_that_generate(model: ModelRef) -> None:
    encoder = model.model_copy(update={"task": "feature-extraction"})
    with pytest.raises(InputError, match=r"workload\.traffic is for causal-lm models"):
        workload_of(encoder, TRAFFIC)


def spec_of(model: ModelRef, recipe: RecipeDict, folder: Path) -> TrialSpec:
    settings = MeasureSettings(block_seconds=0.01, warmup_blocks=3)
    named = write_adapters(Path(model.path), folder, 2) if "adapters" in recipe else []
    update = {"as_text": "input" in recipe, "adapters": tuple(map(str, named))}
    traffic = TRAFFIC.model_copy(update=update)
    changes = {"model": model, "workload": workload_of(model, traffic), "settings": settings}
    return fake_spec(recipe=recipe).model_copy(update={**changes, "directory": str(folder)})


RECIPES: list[RecipeDict] = [
    {},
    {"batch": {"size": 4}},
    {"batching": {"policy": "continuous", "size": 2}, "result_cache": {"entries": 16}},
    {"input": {"tokenize": "thread", "depth": 4, "transfer": "direct"}},
    {"adapters": {"batching": "mixed"}, "batch": {"size": 3}},
]


def test_windows_of_the_evaluation_text_take_turns(model: ModelRef, tmp_path: Path) -> None:
    named = tuple(map(str, write_adapters(Path(model.path), tmp_path, 2)))
    adapted = workload_of(model, TRAFFIC.model_copy(update={"adapters": named}))
    cpu = torch.device("cpu")
    plain = load_tokens(model, workload_of(model, TRAFFIC), cpu).evaluation
    found = load_tokens(model, adapted, cpu)
    assert found.evaluation["adapter"].tolist() == [0, 0, 1]
    assert torch.equal(found.evaluation["input_ids"], plain["input_ids"][[0, 2, 1]])
    assert {one.adapter for one in found.traffic} == {0, 1}


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_session_times_each_request(model: ModelRef, recipe: RecipeDict, tmp_path: Path) -> None:
    spec = spec_of(model, recipe, tmp_path)
    session = Session(spec)
    session.prepared()
    cold = session.handle(Request(operation=Operation.WARMUP, spec=spec), NOBODY).metrics
    assert cold["first_request_seconds"].value
    values = session.handle(Request(operation=Operation.BLOCK), NOBODY).values
    assert set(values) == {
        "ttft_seconds",
        "e2e_latency_seconds",
        "tpot_seconds",
        "output_tokens_per_second",
    }
    tails = session.handle(Request(operation=Operation.PERCENTILES), NOBODY).metrics
    counted = tails["ttft_p99_seconds"]
    assert counted.n >= TRAFFIC.requests or int(counted.reason.split()[0]) >= TRAFFIC.requests
    peaks = session.handle(Request(operation=Operation.MEMORY), NOBODY).metrics
    assert peaks["host_model_peak_bytes"].value
