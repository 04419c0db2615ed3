from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from autotune.device import Device
from autotune.plugin import Context, Processes, Unsupported
from autotune.recipe import Recipe, keys
from autotune.space import gpus_of
from autotune.testing import fake_device
from autotune.testing.fakes import LLAMA
from autotune_plugins.parallel import Parallel


def on(kind: str, world_size: int = 2) -> dict[str, Any]:
    return {"kind": kind, "world_size": world_size}


@pytest.mark.parametrize(
    ("kind", "world_size", "replicas", "parts", "load_args"),
    [
        ("data", 2, 2, 1, {}),
        ("tensor", 4, 1, 4, {"distributed_config": {"tp_size": 4}}),
        ("pipeline", 2, 1, 2, {"distributed_config": {"pp_size": 2}}),
        ("hybrid", 4, 2, 2, {"distributed_config": {"tp_size": 2}}),
        ("hybrid", 8, 4, 2, {"distributed_config": {"tp_size": 2}}),
    ],
)
def test_processes_are_replicas_or_parts_of_a_model(
    kind: str, world_size: int, replicas: int, parts: int, load_args: dict[str, Any]
) -> None:
    params = on(kind, world_size)
    found = Parallel().processes(params)
    assert (found, found.parts) == (Processes(world_size, replicas), parts)
    assert Parallel().load_args(params) == load_args


def test_each_process_has_a_gpu_of_its_own() -> None:
    assert gpus_of(Parallel(), on("tensor", 4), fake_device("cuda")) == 4
    assert gpus_of(Parallel(), on("tensor", 4), fake_device("cpu")) == 1


def test_the_numbers_are_the_same() -> None:
    plugins = {"parallel": Parallel()}
    several, one = (Recipe.of(chosen, plugins) for chosen in ({"parallel": on("data")}, {}))
    assert keys(several, plugins, {}).output_key == keys(one, plugins, {}).output_key
    assert keys(several, plugins, {}).setup_key != keys(one, plugins, {}).setup_key


@pytest.mark.parametrize(
    ("params", "changes", "reason"),
    [
        (on("data", 8), {}, "8 processes are more than the 4 cores"),
        (on("hybrid", 2), {}, "world_size must be 4 or more"),
        (on("tensor"), {"architectures": ["BertModel"]}, "only causal language models.*BertModel"),
        (on("tensor"), {"num_attention_heads": 9}, "num_attention_heads of 9 cannot be divided"),
        (on("tensor", 4), {"num_key_value_heads": 2}, "num_key_value_heads of 2 cannot"),
        (on("hybrid", 4), {"intermediate_size": 1025}, "intermediate_size of 1025 cannot"),
        (on("pipeline", 4), {"num_hidden_layers": 3}, "3 layers cannot be divided among 4"),
        (on("pipeline"), {"layer_types": ["sliding_attention"]}, "attend to all tokens"),
        (on("pipeline"), {"sliding_window": 64}, "attend to all tokens"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    params: dict[str, Any], changes: dict[str, Any], reason: str, cpu: Device
) -> None:
    with pytest.raises(Unsupported, match=reason):
        Parallel().check(params, {**LLAMA, **changes}, cpu)


def test_gpus_are_counted_by_the_coordinator_and_not_their_cores(new_gpu: Device) -> None:
    Parallel().check(on("data", 8), LLAMA, new_gpu)


@pytest.mark.parametrize("kind", ["data", "tensor", "pipeline", "hybrid"])
def test_ordinary_models_are_accepted(kind: str, cpu: Device) -> None:
    Parallel().check(on(kind, 4), LLAMA, cpu)


def test_data_leaves_encoders_whole(cpu: Device) -> None:
    Parallel().check(on("data"), {"architectures": ["BertModel"]}, cpu)


def test_estimates_count_what_all_processes_hold() -> None:
    assert Parallel().estimate(on("data", 4), LLAMA).weights_bytes == 4
    assert Parallel().estimate(on("tensor", 4), LLAMA).weights_bytes == 1
    assert Parallel().estimate(on("hybrid", 8), LLAMA).weights_bytes == 4
    assert Parallel().estimate(on("pipeline"), LLAMA).weights_bytes == 1
    tied = Parallel().estimate(on("pipeline"), {**LLAMA, "tie_word_embeddings": True})
    assert 1 < tied.weights_bytes < 1.2, "the first and the last stage hold the embeddings"


@pytest.mark.parametrize("kind", ["tensor", "pipeline"])
def test_models_that_were_not_divided_are_noticed(kind: str, llama: Any, context_of: Any) -> None:
    with pytest.raises(Unsupported, match="transformers has"):
        Parallel().transform(llama, on(kind), context_of(llama))


def test_a_stage_passes(context_of: Any, llama: Any) -> None:
    llama.model.layers[0] = nn.Identity()
    context: Context = context_of(llama)
    assert Parallel().transform(llama, on("pipeline"), context) is llama
    assert context.notes == []


def test_a_person_is_told_how_a_batch_is_divided() -> None:
    context: Any = SimpleNamespace(notes=[])
    Parallel().transform(None, on("data", 4), context)
    assert "divided among 4 models" in context.notes[0]
