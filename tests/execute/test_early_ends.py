"""Trials that end early, in real bench processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autotune import registry
from autotune.execute.slot import DeviceSlot
from autotune.measure_settings import MeasureSettings
from autotune.messages import TrialSpec
from autotune.outcome import Outcome

MakeSpec = Callable[..., TrialSpec]


@pytest.mark.slow
def test_accuracy_that_is_out_after_a_few_windows_is_not_kept_as_known(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(
        1,
        {"prune": {"method": "depth", "ratio": 0.5}},
        baseline={},
        constraints=("kld_mean_nats<=1e-9",),
    )
    longer = spec.workload.model_copy(update={"evaluation_positions": 1024})
    spec = spec.model_copy(update={"workload": longer, "cache_directory": str(tmp_path)})
    slot = DeviceSlot(registry.installed(), lambda _: None)
    try:
        result = slot.run(spec)
    finally:
        slot.close()
    assert (result.outcome, result.blocks) == (Outcome.INFEASIBLE, ())
    assert result.explanation.endswith("teacher-forced on held-out text, 4 of 17 windows")
    assert result.metrics["kld_mean_nats"].n == 4 * 63
    assert result.accuracy == {}


@pytest.mark.slow
def test_trial_that_a_rival_beats_ends_early_with_all_its_metrics(make_spec: MakeSpec) -> None:
    speed, memory = "output_tokens_per_second", "host_model_peak_bytes"
    objectives = (speed, memory, "weights_bytes")
    settings = MeasureSettings(
        block_seconds=0.02, warmup_blocks=3, target_half_width_ratio=1e-9, max_pairs=16
    )
    beaten = {7: {speed: (1e9, 1e9, 1e9), memory: (1.0, 1.0, 1.0), "weights_bytes": (1.0,) * 3}}
    slow = {7: {**beaten[7], speed: (1e-9, 1e-9, 1e-9)}}
    slot = DeviceSlot(registry.installed(), lambda _: None)
    try:
        baseline = slot.run(make_spec(0))
        fields = {"baseline": baseline.metrics, "objectives": objectives}
        specs = [
            make_spec(n, {"batch": {"size": 2}}, known_accuracy={}, rivals=rivals, **fields)
            for n, rivals in enumerate((beaten, slow), start=1)
        ]
        ended, whole = (slot.run(s.model_copy(update={"settings": settings})) for s in specs)
    finally:
        slot.close()
    assert (ended.outcome, ended.explanation, len(ended.blocks)) == (Outcome.OK, "", 7)
    (note,) = (n for n in ended.notes if n.startswith("ended early"))
    told = f"trial 7 is at least as good in everything and better in {speed}"
    assert note.startswith(f"ended early after 7 pairs: {told}")
    assert ended.metrics[speed].n == 7
    assert ended.metrics[speed].grade is not None
    assert (ended.metrics[memory].value or 0) > 1
    assert (whole.outcome, len(whole.blocks)) == (Outcome.OK, 16), "it is faster than trial 7"
    assert not any("ended early" in n for n in whole.notes)
