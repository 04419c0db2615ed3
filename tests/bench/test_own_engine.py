"""What an engine says of itself reaches the trial: weights, what ran, and outputs that are not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune import registry
from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.bench.fallbacks import find_in_engine
from autotune.bench.protocol import Operation, Request
from autotune.bench.session import Session
from autotune.config import WorkloadFile
from autotune.device import detect
from autotune.engine import NoOutputs, OwnWeights
from autotune.messages import TrialSpec
from autotune.params import Choice, Params, Stage
from autotune.plugin import Phase, Plugin, Unsupported
from autotune.testing import fake_spec
from autotune.workload.model import resolve
from autotune.workload.text import build_workload
from bench_line import NOBODY

ON: Any = {"on": Choice(False, True, default=False, stage=Stage.MODEL)}


class Silent(TorchGenerator):
    """Says what it holds and runs, and tells no logits."""

    elsewhere = "it is somewhere else"

    def own_weights(self) -> OwnWeights:
        return OwnWeights(held_bytes=12, stored_bytes=34)

    def ran(self) -> Mapping[str, str]:
        return {"engine": "silent", "dtype": "float32"}

    def outputs(self, *given: Any) -> torch.Tensor:
        raise NoOutputs("it keeps them to itself")


class Brings(Plugin):
    """Bring the silent engine."""

    name = "brings"
    params = ON

    def engine(self, model: Any, params: Params, context: Any) -> Silent:
        return Silent(model, context.new_tokens)

    def expects(self, params: Params) -> dict[str, str]:
        return {"engine": "loud"}


class Late(Plugin):
    """Change how torch executes the model."""

    name = "late"
    params = ON
    phase = Phase.COMPILE


@pytest.fixture
def spec(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialSpec:
    """A trial with the silent engine."""
    plugins = {plugin.name: plugin() for plugin in (Brings, Late)}
    own = registry.Registry(plugins, dict.fromkeys(plugins, "here 1"))
    monkeypatch.setattr(registry, "installed", lambda: own)
    sizes = {"prompt_tokens": 8, "new_tokens": 3, "calibration_sequences": 2}
    model = resolve(str(tiny_model))
    file = WorkloadFile(**sizes, evaluation_positions=64, evaluation_window_tokens=32)
    fields = {"model": model, "workload": build_workload(file, model, 0), "device": detect("cpu")}
    folders = {"directory": str(tmp_path), "cache_directory": str(tmp_path)}
    return fake_spec(1, {"brings": {"on": True}}).model_copy(update=fields | folders)


def asked(session: Session, spec: TrialSpec, operation: Operation) -> Any:
    return session.handle(Request(operation=operation, spec=spec), NOBODY).metrics


def test_weights_are_the_engines_and_accuracy_is_unknown_with_a_reason(spec: TrialSpec) -> None:
    baseline = spec.model_copy(update={"recipe": {}})
    assert asked(Session(baseline), baseline, Operation.SCORE)["kld_mean_nats"].value is not None
    session = Session(spec)
    assert session._prepared.model is None
    prepared = session.prepared()
    assert prepared.metrics["weights_bytes"].value == 12
    assert prepared.metrics["weights_disk_bytes"].value == 34
    assert "accuracy is unknown: it keeps them to itself" in prepared.notes
    (fallback,) = (f for f in prepared.fallbacks if f.what == "engine")
    assert (fallback.asked, fallback.ran) == ("loud", "silent")

    scores = asked(session, spec, Operation.SCORE)
    assert {"kld_mean_nats", "top1_agreement_ratio", "perplexity_ratio"} <= scores.keys()
    assert {(m.value, m.reason) for m in scores.values()} == {(None, "it keeps them to itself")}

    asked(session, spec, Operation.WARMUP)
    peaks = asked(session, spec, Operation.MEMORY)
    for name in ("host_model_peak_bytes", "host_prefill_peak_rss_bytes"):
        assert (peaks[name].value, peaks[name].reason) == (None, "it is somewhere else")


def test_nothing_compiles_a_model_that_is_gone(spec: TrialSpec) -> None:
    both = {"brings": {"on": True}, "late": {"on": True}}
    with pytest.raises(Unsupported, match="'late' changes how torch executes the model"):
        Session(spec.model_copy(update={"recipe": both}))


def test_what_nobody_can_see_of_a_model_that_is_gone_is_a_fallback(llama: Any) -> None:
    engine = Silent(llama, 2)
    wanted = {"engine": "silent", "dtype": "float32", "attention": "sdpa", "allocator": "jemalloc"}
    (found,) = find_in_engine(engine, wanted)
    assert (found.what, found.asked, found.ran) == ("attention", "sdpa", "unknown")
    assert not list(find_in_engine(TorchGenerator(llama, 2), {"dtype": "float32"}))
    (other,) = find_in_engine(TorchGenerator(llama, 2), {"engine": "vllm"})
    assert other.ran == "unknown"
