"""Real bench processes, in one thread, as the executor drives them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autotune import registry
from autotune.bench.protocol import Fallback, Operation, Reply
from autotune.device import detect
from autotune.errors import BenchError
from autotune.execute.local import LocalExecutor
from autotune.execute.process import spawn
from autotune.execute.session import BenchSession
from autotune.execute.slot import DeviceSlot
from autotune.execute.steps import TrialSteps
from autotune.execute.template import fork
from autotune.execute.trial import TrialUnderWay
from autotune.execute.warm import Role, WarmSessions, ask
from autotune.messages import Grade, Progress, TrialSpec
from autotune.outcome import Outcome
from autotune.testing import ExecutorContract
from autotune.trust import DATA_ONLY, Trust
from autotune.workload.model import resolve

MakeSpec = Callable[..., TrialSpec]


def pid_of(sessions: WarmSessions, role: Role) -> int:
    return sessions._held[role][1].pid


@pytest.fixture(params=[spawn, fork])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BenchSession]:
    with BenchSession(tmp_path / "log", {}, start=request.param) as started:
        yield started


def test_death_is_explained_and_the_session_is_over(
    session: BenchSession, make_spec: MakeSpec
) -> None:
    session.ask(Operation.PREPARE, 120, make_spec())
    os.kill(session.pid, signal.SIGABRT)
    with pytest.raises(BenchError, match="was killed by SIGABRT during block") as died:
        session.ask(Operation.BLOCK, 60, None)
    assert died.value.outcome is Outcome.CRASHED
    with pytest.raises(BenchError, match="was gone before block"):
        session.ask(Operation.BLOCK, 60, None)


class Evil:
    """Opens a file when it is unpickled without care."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self._file), "w"))


def test_pickled_weights_are_read_where_allowed_and_never_run(
    make_spec: MakeSpec, tiny_model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "pickled"
    shutil.copytree(tiny_model, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    weights = load_file(tiny_model / "model.safetensors")
    torch.save(weights, copy / "pytorch_model.bin")
    spec = make_spec()
    model = resolve(str(copy), trust=Trust(allow_pickle=True))
    opened = tmp_path / "opened"
    with BenchSession(tmp_path / "log", {}, start=spawn) as session:
        strict = model.model_copy(update={"trust": DATA_ONLY})
        with pytest.raises(BenchError, match="only pickled weights"):
            session.ask(Operation.PREPARE, 120, spec.model_copy(update={"model": strict}))
    with BenchSession(tmp_path / "log", {}, start=spawn) as session:
        session.ask(Operation.PREPARE, 120, spec.model_copy(update={"model": model}))
    torch.save({**weights, "evil": Evil(opened)}, copy / "pytorch_model.bin")
    with (
        BenchSession(tmp_path / "log", {}, start=spawn) as session,
        pytest.raises(BenchError, match="weights_only"),
    ):
        session.ask(Operation.PREPARE, 120, spec.model_copy(update={"model": model}))
    assert not opened.exists()


def test_timeout_ends_the_process(session: BenchSession, make_spec: MakeSpec) -> None:
    with pytest.raises(BenchError, match=r"prepare took longer than 0\.2 s") as late:
        session.ask(Operation.PREPARE, 0.2, make_spec())
    assert late.value.outcome is Outcome.TIMEOUT
    with pytest.raises(ProcessLookupError):
        os.kill(session.pid, 0)


@pytest.mark.slow
def test_probe_takes_the_baselines_place_where_both_do_not_fit(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the probe dies of the device's rates, and is killed in the midst of the second trial."""
    probes: list[int] = []

    def ask_and_kill(session: BenchSession, operation: Operation, spec: TrialSpec) -> Reply:
        if operation is Operation.ROOF:
            os.kill(session.pid, signal.SIGILL)
        if operation is Operation.PROBE and spec.recipe:
            probes.append(session.pid)
            if len(probes) == 4:
                os.kill(session.pid, signal.SIGKILL)
        return ask(session, operation, spec)

    monkeypatch.setattr("autotune.execute.beside.free_bytes", lambda _: 1000)
    monkeypatch.setattr("autotune.execute.beside.ask", ask_and_kill)
    monkeypatch.setattr("autotune.execute.steps.ask", ask_and_kill)
    slot = DeviceSlot(registry.installed(), lambda _: None)
    try:
        baseline = slot.run(make_spec(0))
        assert baseline.outcome is Outcome.OK, baseline.explanation
        batch = slot.run(make_spec(1, {"batch": {"size": 4}}, baseline=baseline.metrics))
        assert batch.outcome is Outcome.OK, batch.explanation
    finally:
        slot.close()
    (note,) = (n for n in baseline.notes if "rates could not be measured" in n)
    assert "SIGILL" in note
    assert baseline.metrics["model_flops_utilization"].value is None
    assert len(set(probes)) == 2
    assert any(n.startswith("started again: the probe failed") for n in batch.notes)
    for result in (baseline, batch):
        assert {tuple(pair.reference) for pair in result.blocks} == {("probe_seconds",)}
        assert all(pair.reference["probe_seconds"] > 0 for pair in result.blocks)
        assert result.contention is not None
        assert not result.contention.paired
        (note,) = (n for n in result.notes if n.startswith("measured without the baseline"))
        assert "beside it: both do not fit into memory" in note
        speed = result.metrics["output_tokens_per_second"]
        assert speed.stat == ("unpaired_median" if result is batch else "median")
        assert speed.grade in (Grade.B, Grade.C)
    own = baseline.metrics["output_tokens_per_second"]
    found = batch.metrics["output_tokens_per_second"]
    assert own.ratio is None
    assert own.value is not None
    assert found.value is not None
    assert found.ratio == pytest.approx(found.value / own.value)


@pytest.mark.parametrize("limit", [None, 1 << 30])
def test_candidate_that_runs_out_of_memory_beside_the_baseline_is_tried_alone(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    tried: list[bool] = []

    def run(_: TrialSteps, trial: TrialUnderWay) -> None:
        tried.append(trial.alone)
        if not trial.alone:
            raise BenchError(Outcome.OUT_OF_MEMORY, "no room")

    monkeypatch.setattr(TrialSteps, "run", run)
    monkeypatch.setattr(WarmSessions, "holds_baseline", True)
    spec = make_spec(0)
    settings = spec.settings.model_copy(update={"memory_limit_bytes": limit})
    slot = DeviceSlot(registry.installed(), lambda _: None)
    result = slot.run(spec.model_copy(update={"settings": settings}))
    # A limit of its own is not shared with the baseline.
    assert tried == ([False, True] if limit is None else [False])
    assert (result.outcome is Outcome.OUT_OF_MEMORY) == (limit is not None)


@pytest.mark.slow
def test_process_that_was_begun_is_the_one_that_is_prepared(make_spec: MakeSpec) -> None:
    sessions, spec = WarmSessions(registry.installed()), make_spec()
    sessions.begin("candidate", spec)
    sessions.begin("reference", spec)
    begun = {pid_of(sessions, "candidate"), pid_of(sessions, "reference")}
    assert not sessions.is_warm("candidate", spec)
    assert not sessions.holds_baseline, "nothing is in its memory yet"
    prepared = {sessions.get("candidate", spec)[0].pid, sessions.get("reference", spec)[0].pid}
    assert prepared == begun
    assert sessions.is_warm("candidate", spec)
    assert sessions.holds_baseline
    sessions.begin("candidate", spec)
    assert pid_of(sessions, "candidate") in begun, "it has one"
    sessions.close()


@pytest.mark.slow
def test_life_of_trials_on_one_slot(make_spec: MakeSpec) -> None:
    seen: list[Progress] = []
    slot = DeviceSlot(registry.installed(), seen.append)
    try:
        baseline = slot.run(make_spec(0))
        assert baseline.outcome is Outcome.OK, baseline.explanation
        metrics = baseline.metrics
        assert metrics["kld_mean_nats"].value == pytest.approx(0.0, abs=1e-4)
        ratio = metrics["output_tokens_per_second"]
        assert ratio.stat == "median"
        assert len(baseline.blocks) == 6
        assert (metrics["roof_float32_flops_per_second"].value or 0) > 0
        assert (metrics["roof_read_bytes_per_second"].value or 0) > 0
        assert (metrics["model_flops_utilization"].value or 0) > 0
        assert {"prepare", "baseline", "score", "warmup", "measure"} <= set(baseline.phase_seconds)

        known = {"kld_mean_nats": metrics["kld_mean_nats"]}
        batch = slot.run(
            make_spec(1, {"batch": {"size": 4}}, baseline=metrics, known_accuracy=known)
        )
        assert batch.warm
        assert batch.accuracy_reused
        assert "score" not in batch.phase_seconds
        assert "roof_read_bytes_per_second" not in batch.metrics, "measured once"
        step = batch.metrics["bandwidth_utilization"]
        assert (step.value or 0) > 0
        assert step.grade is not None
        assert batch.metrics["prompt_flops"].value == 4 * (metrics["prompt_flops"].value or 0)
        speed = batch.metrics["output_tokens_per_second"]
        own = metrics["output_tokens_per_second"].value
        assert own is not None
        assert speed.value == pytest.approx(own * (speed.ratio or 0))

        gate = ("kld_mean_nats<=1e-9",)
        pruned = slot.run(
            make_spec(
                2,
                {"prune": {"method": "depth", "ratio": 0.5}},
                baseline=metrics,
                constraints=gate,
            )
        )
        assert pruned.outcome is Outcome.INFEASIBLE
        assert "kld_mean_nats is" in pruned.explanation
        assert "measure" not in pruned.phase_seconds, "the gate saves the timing"
        assert not pruned.warm
        smaller, whole = (r.metrics["weights_bytes"].value for r in (pruned, baseline))
        assert smaller is not None
        assert whole is not None
        assert smaller < whole
        slow = slot.run(
            make_spec(
                3,
                {"batch": {"size": 4}},
                baseline=metrics,
                known_accuracy=known,
                constraints=("output_tokens_per_second>=1e9",),
            )
        )
        assert slow.outcome is Outcome.INFEASIBLE
        assert "output_tokens_per_second is" in slow.explanation
        assert len(slow.blocks) == 6
        assert "host_model_peak_bytes" not in slow.metrics, "what is out is not measured on"
        large = slot.run(
            make_spec(
                4,
                {"batch": {"size": 4}},
                baseline=metrics,
                known_accuracy=known,
                constraints=("host_model_peak_bytes<=1",),
            )
        )
        assert large.outcome is Outcome.INFEASIBLE
        assert "host_model_peak_bytes is" in large.explanation
        assert large.blocks == (), "a peak only grows"
        assert {p.phase for p in seen} >= {"prepare", "score", "warmup", "measure"}
    finally:
        slot.close()


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture(autouse=True)
    def _specs(self, make_spec: MakeSpec) -> None:
        self._make_spec = make_spec

    def make(self) -> LocalExecutor:
        return LocalExecutor(registry.installed(), lambda progress: None)

    def specs(self, count: int) -> list[TrialSpec]:
        # Over as soon as the model is loaded: what is tested is the carrying.
        two, gate = {"batch": {"size": 2}}, ("weights_bytes<=1",)
        return [self._make_spec(i, two, constraints=gate) for i in range(count)]

    def failing_spec(self, number: int) -> TrialSpec:
        return self._make_spec(number).model_copy(update={"recipe": {"not_here": {"level": 1}}})


@pytest.mark.slow
def test_fallback_travels_from_the_bench_process_to_the_result(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    # An empty cache: the baseline is scored beside it first.
    spec = make_spec(0, {"attention": {"kernel": "eager"}})
    spec = spec.model_copy(update={"cache_directory": str(tmp_path)})
    slot = DeviceSlot(registry.installed(), lambda progress: None)
    try:
        result = slot.run(spec)
    finally:
        slot.close()
    assert result.outcome is Outcome.OK, result.explanation
    assert result.metrics["kld_mean_nats"].value == pytest.approx(0.0, abs=1e-6)
    expected = [found.words for found in _lower_than(detect("cpu").cpu_flags)]
    assert list(result.fallbacks) == expected


def _lower_than(flags: frozenset[str]) -> Iterator[Fallback]:
    """What a process with torch's plainest kernels misses here."""
    best = "AVX512" if "avx512vl" in flags else "AVX2" if "avx2" in flags else None
    if best:
        reason = "ATEN_CPU_CAPABILITY=default"
        yield Fallback(what="cpu_capability", asked=best, ran="DEFAULT", reason=reason)
