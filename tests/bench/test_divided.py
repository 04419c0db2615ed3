"""What several processes need of one, without the processes."""

from __future__ import annotations

import os
from multiprocessing import Pipe
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from autotune.bench.caches import growing_cache
from autotune.bench.engines.divided import for_stage, layers_here, require_plain
from autotune.bench.engines.parallel_engine import ParallelEngine, merged
from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.bench.group import Group, _sums, _together
from autotune.bench.protocol import Reply
from autotune.bench.ranks import Rank, Ready, require_plan
from autotune.engine import Timing
from autotune.errors import BenchError
from autotune.messages import Measurement, Metrics
from autotune.outcome import Outcome
from autotune.plugin import Processes, Unsupported
from autotune.testing import fake_device, fake_spec

Windows = dict[str, torch.Tensor]


def test_later_stage_of_a_pipeline_knows_how_long_its_cache_is(llama: Any) -> None:
    llama.model.layers[0] = nn.Identity()
    assert layers_here(llama) == [1]
    cache = growing_cache(llama.config, TorchGenerator.run_args)
    for_stage(cache, llama)
    states = torch.zeros(1, 2, 5, 8)
    cache.update(states, states, 1)
    assert cache.get_seq_length() == 5


def test_whole_model_keeps_its_cache(llama: Any) -> None:
    assert layers_here(llama) is None
    cache = growing_cache(llama.config, TorchGenerator.run_args)
    first, second = for_stage(cache, llama).layers
    assert first is not second


@pytest.mark.parametrize("changed", [{"cache": "static"}, {"draft_tokens": 2}])
def test_stage_is_driven_plainly(llama: Any, changed: dict[str, Any]) -> None:
    engine = TorchGenerator(llama, 4)
    engine.resolve(changed)
    llama.model.layers[1] = nn.Identity()
    engine.resolve({})
    with pytest.raises(Unsupported, match="pipeline of processes"):
        engine.resolve(changed)


def test_static_cache_of_divided_heads_is_refused() -> None:
    weight = SimpleNamespace(full_tensor=None)
    model: Any = SimpleNamespace(parameters=lambda: [weight], children=list)
    require_plain(model, {"cache": "dynamic", "draft_tokens": 2})
    with pytest.raises(Unsupported, match="room for all heads"):
        require_plain(model, {"cache": "static", "draft_tokens": 0})


def test_models_without_a_plan_are_refused() -> None:
    class Model:
        supports_tp_plan = True
        supports_pp_plan = False

    require_plan(Model(), {"tp_size": 2})
    require_plan(Model(), None)
    with pytest.raises(Unsupported, match="no plan for pipeline parallelism of Model"):
        require_plan(Model(), {"pp_size": 2})


def engine_of(llama: Any, replicas: int) -> ParallelEngine:
    group: Any = SimpleNamespace(processes=Processes(replicas, replicas))
    return ParallelEngine(TorchGenerator(llama, 4), group)


def test_batch_is_at_least_one_prompt_for_each_replica(llama: Any, windows: Windows) -> None:
    engine = engine_of(llama, 4)
    assert engine.resolve({})["batch_size"] == 4
    assert engine.resolve({"batch_size": 6})["batch_size"] == 6
    with pytest.raises(Unsupported, match="a batch of 2 cannot be divided among 4 models"):
        engine.resolve({"batch_size": 2})
    assert engine.passes(windows) is None, "nobody sees the other processes' work"


@pytest.mark.parametrize(("sequences", "sizes"), [(6, [2, 2, 1, 1]), (1, [1]), (4, [1, 1, 1, 1])])
def test_shares_are_all_sequences_in_order(
    llama: Any, windows: Windows, sequences: int, sizes: list[int]
) -> None:
    batch = {name: tensor[:sequences] for name, tensor in windows.items()}
    shares = engine_of(llama, 4)._divide(batch)
    assert [len(share["input_ids"]) for share in shares] == sizes
    assert torch.equal(torch.cat([share["input_ids"] for share in shares]), batch["input_ids"])


def test_token_is_there_when_every_process_has_it(windows: Windows) -> None:
    quick = Timing(1.0, 2.0, 4.0, 3, 16, 3, (1.0, 1.0))
    slow = Timing(1.1, 2.5, 4.5, 3, 16, 3, (0.25, 1.75))
    found = merged(0.9, 5.0, [quick, slow], windows)
    assert (found.start, found.first, found.last) == (0.9, 2.5, 5.0)
    assert (found.sequences, found.prompt_tokens, found.output_tokens) == (6, 16, 3)
    assert found.gaps == (0.5, 1.5)


def metrics_of(load: float, weights: float | None) -> Metrics:
    return {
        "load_seconds": Measurement(value=load, unit="s"),
        "transform_seconds": Measurement(value=0.0, unit="s"),
        "weights_bytes": Measurement(value=weights, unit="B", source="storages"),
        "weights_disk_bytes": Measurement(value=weights, unit="B"),
    }


def test_metrics_of_all_processes() -> None:
    ready = [
        Ready(metrics_of(2.0, 30.0), {"first": 10, "tied": 20}),
        Ready(metrics_of(3.0, 25.0), {"second": 5, "tied": 20}),
    ]
    found = {name: metric.value for name, metric in _together(ready).items()}
    assert found == {
        "load_seconds": 3.0,
        "transform_seconds": 0.0,
        "weights_bytes": 55.0,
        "weights_disk_bytes": 35.0,
    }
    assert _sums([r.metrics for r in ready])["weights_bytes"].source == "2 processes: storages"
    unknown = _sums([metrics_of(1.0, 1.0), metrics_of(1.0, None)])["weights_bytes"]
    assert unknown.value is None


def asked(reply: Any) -> tuple[Group, Any]:
    """A group whose only follower has sent this, or nothing."""
    ours, theirs = Pipe()
    follower: Any = SimpleNamespace(connection=ours, rank=Rank(1, Processes(2), 0), theirs=theirs)
    if reply is not None:
        theirs.send(reply)
    group = Group.__new__(Group)
    group._followers = [follower]
    group._patience = 0.05
    return group, follower


def test_process_that_says_nothing_is_named() -> None:
    group, follower = asked(None)
    with pytest.raises(BenchError, match=r"rank 1 of 2 gave no answer within 0\.05 s") as silent:
        group.answers([follower])
    assert silent.value.outcome is Outcome.CRASHED


def test_failure_is_that_of_the_process_that_failed_first() -> None:
    why = Reply(outcome=Outcome.OUT_OF_MEMORY, explanation="no room")
    group, _ = asked((why, None))
    with pytest.raises(BenchError, match="rank 1 of 2: no room") as failed, group.blaming():
        raise RuntimeError("Connection closed by peer")
    assert failed.value.outcome is Outcome.OUT_OF_MEMORY


def test_recipes_that_need_a_whole_model_start_no_process() -> None:
    recipe: Any = {
        "parallel": {"kind": "tensor", "world_size": 2},
        "prune": {"method": "depth", "ratio": 0.5},
    }
    with pytest.raises(Unsupported, match="plugin 'prune' works on a whole model"):
        Group.of(fake_spec(1, recipe))
    assert Group.of(fake_spec(1, {"prune": recipe["prune"]})) is None


def test_bound_threads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_PROC_BIND", "close")
    with pytest.raises(Unsupported, match="same cores"):
        Rank(1, Processes(2), 0).take_cores(fake_device())


@pytest.mark.parametrize(("given", "threads"), [(None, 4), ("1", 1)])
def test_cores_are_shared_unless_somebody_said_how_many_threads(
    monkeypatch: pytest.MonkeyPatch, given: str | None, threads: int
) -> None:
    found = [torch.get_num_threads()]
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    Rank(1, Processes(2), 0).take_cores(fake_device())  # of 8 cores
    assert found[1:] == ([threads] if given is None else [])
    assert "OMP_NUM_THREADS" not in os.environ or given
