"""What a recipe sets of the device holds for its own process's work, and for nothing beside it.

The machine's governors are files of the test, and the bench processes write down what they see."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pytest

from autotune.bench.protocol import Operation, Reply
from autotune.errors import BenchError
from autotune.execute import slot, warm
from autotune.execute.slot import DeviceSlot
from autotune.messages import Measurement, TrialResult, TrialSpec
from autotune.metrics import metric
from autotune.outcome import Outcome
from autotune.params import Choice, Params, Stage
from autotune.plugin import Plugin
from autotune.power import PowerHold
from autotune.registry import Registry
from autotune.testing import fake_spec
from autotune.trust import Trust

BLOCK = {"output_tokens_per_second": 10.0, "e2e_latency_seconds": 1.0, "ttft_seconds": 0.5}


class Slow(Plugin):
    """Asks for another governor."""

    name = "slow"
    params: ClassVar = {"on": Choice(False, True, default=False, stage=Stage.SETUP)}

    def device_settings(self, params: Params) -> dict[str, Any]:
        return {"cpu_governor": "powersave"}


@pytest.fixture
def governor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the only CPU."""
    file = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    file.parent.mkdir(parents=True)
    file.write_text("performance")
    (file.parent / "scaling_available_governors").write_text("performance powersave")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a device lock of its own
    held = functools.partial(PowerHold, root=tmp_path, settle_seconds=0.0)
    monkeypatch.setattr(slot, "PowerHold", held)
    return file


def run(tmp_path: Path, **trust: bool) -> TrialResult:
    spec = fake_spec(1, {"slow": {"on": True}})
    changes: dict[str, Any] = {
        "directory": str(tmp_path),
        "cache_directory": str(tmp_path),
        "baseline": {n: Measurement(value=v, unit=metric(n).unit) for n, v in BLOCK.items()},
        "model": spec.model.model_copy(update={"trust": Trust(**trust)}),
        "device": spec.device.model_copy(update={"memory_bytes": 1 << 40}),
    }
    device_slot = DeviceSlot(Registry({"slow": Slow()}), lambda _: None)
    try:
        return device_slot.run(spec.model_copy(update=changes))
    finally:
        device_slot.close()


def watch(
    monkeypatch: pytest.MonkeyPatch, governor: Path, fails_at: Operation | None = None
) -> list[tuple[str, Operation, str]]:
    """Replaces bench processes.

    Returns:
        Who was asked for what, under which governor.
    """
    seen: list[tuple[str, Operation, str]] = []

    class Watching:
        pid = 1
        pids = (1,)

        def __init__(self, log: Path, *_: Any) -> None:
            self.log = log

        def ask(self, operation: Operation, limit: float, spec: TrialSpec | None) -> Reply:
            assert spec is not None
            who = "candidate" if spec.recipe else "baseline"
            seen.append((who, operation, governor.read_text()))
            if who == "candidate" and operation is fails_at:
                raise BenchError(Outcome.CRASHED, "the bench process was killed")
            return Reply(values=BLOCK if operation is Operation.BLOCK else {})

        def close(self) -> None:
            pass

    monkeypatch.setattr(warm, "BenchSession", Watching)
    return seen


def test_only_the_candidates_work_is_done_under_them(
    tmp_path: Path, governor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch(monkeypatch, governor)
    found = run(tmp_path, allow_power_changes=True)
    assert (found.outcome, found.explanation) == (Outcome.OK, "")
    words = "set while it was measured and restored since: cpu_governor=powersave"
    assert words in found.notes
    timed = {Operation.PREPARE, Operation.WARMUP, Operation.BLOCK}
    under = {(who, what): value for who, what, value in seen if what in timed}
    assert under == {
        **{("candidate", what): "powersave" for what in timed},
        **{("baseline", what): "performance" for what in timed},
    }
    assert governor.read_text() == "performance"


@pytest.mark.parametrize("operation", [Operation.PREPARE, Operation.BLOCK])
def test_they_are_restored_when_the_bench_process_dies(
    tmp_path: Path, governor: Path, monkeypatch: pytest.MonkeyPatch, operation: Operation
) -> None:
    seen = watch(monkeypatch, governor, operation)
    assert run(tmp_path, allow_power_changes=True).outcome is Outcome.CRASHED
    assert seen[-1] == ("candidate", operation, "powersave")
    assert governor.read_text() == "performance"
    assert not list(tmp_path.glob("*power*"))


def test_without_consent_nothing_is_set_and_nothing_runs(
    tmp_path: Path, governor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch(monkeypatch, governor)
    found = run(tmp_path)
    assert found.outcome is Outcome.UNSUPPORTED
    assert found.explanation.endswith("it needs --allow-power-changes")
    assert seen == []
