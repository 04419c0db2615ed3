"""One prepared model and the operations that a parent may ask of it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Any

import torch
from safetensors.torch import save_file

from autotune import constraints
from autotune.bench import allocator, fallbacks, kernels
from autotune.bench.compilation import CompileWatch
from autotune.bench.engines.parallel_engine import ParallelEngine
from autotune.bench.exported.export import Export
from autotune.bench.group import Group, GroupMemory
from autotune.bench.line import Line, Stopped
from autotune.bench.meters import speed
from autotune.bench.meters.accuracy import AccuracyMeter, unknown_accuracy
from autotune.bench.meters.energy import measure_energy
from autotune.bench.meters.memory import MemoryMeter
from autotune.bench.meters.percentiles import Latencies
from autotune.bench.meters.phases import request_phases
from autotune.bench.meters.tasks import run_tasks, score_metrics
from autotune.bench.meters.work import Work, count_work
from autotune.bench.prepare import Prepared, compile_model, is_out_of_memory, prepare
from autotune.bench.protocol import Operation, Reply, Request, reference_files
from autotune.bench.reload import save_and_reload
from autotune.bench.tokens import take
from autotune.engine import Batch, NoOutputs, Timing
from autotune.errors import BenchError
from autotune.messages import Measurement, Metrics, TrialSpec
from autotune.metrics import METRICS, Family
from autotune.outcome import Outcome
from autotune.space import merge

_STEADY = 0.05
"""Warm-up ends when three blocks agree within this ratio (measurement.md, section 3)."""

_TOKENS = 16
"""What an engine that tells no outputs is known by: so many tokens after each prompt."""


class Session:
    """Lives in the bench process. Prepares once, then measures many run recipes."""

    def __init__(self, spec: TrialSpec, export: Export | None = None) -> None:
        torch.manual_seed(spec.seed)
        self._spec = spec
        self._group = Group.of(spec)
        self._memory, self._prepared = self._prepare(export)
        self._asked = merge(
            spec.recipe, self._prepared.plugins, lambda p, v: p.expects(v), "expectation"
        )
        self._watch: CompileWatch | None = None
        self._compiled = False
        self._latencies = Latencies()
        self._prompts: Any = None
        self._run_args: dict[str, Any] = {}
        self._work: Work | None = None

    def _prepare(self, export: Export | None) -> tuple[MemoryMeter, Prepared]:
        if self._group is None:
            alone = MemoryMeter(self._spec.device)
            return alone, prepare(self._spec, alone, export=export)
        memory = GroupMemory(self._spec, self._group)
        made = self._group.prepare(memory)
        made.engine = ParallelEngine(made.engine, self._group)
        if self._group.processes.replicas > 1:
            made.engine.check_replicas(made.tokens.prompts)
        return memory, made

    def prepared(self) -> Reply:
        """What preparing cost, after a check that one forward pass gives finite numbers."""
        self._check_finite()
        if self._spec.settings.verify_reload and self._group is None:
            save_and_reload(self._prepared.model, self._first_outputs)
        self._work = self._count_work()
        model, asked, device = self._prepared.model, self._asked, self._spec.device
        tokens = self._spec.workload.prompt_tokens
        notes, other = kernels.look_at_linears(model, asked, device, tokens)
        more_notes, more = kernels.look_at_attention(model, asked, device, tokens)
        return Reply(
            metrics=self._prepared.metrics,
            notes=(*self._prepared.context.notes, *notes, *more_notes),
            fallbacks=(
                *fallbacks.find_in_model(model, asked, device),
                *fallbacks.find_in_engine(self._prepared.engine, asked),
                *other,
                *more,
            ),
            environment=_environment(),
        )

    def handle(self, request: Request, line: Line) -> Reply:
        """Carries out one operation.

        Args:
            request: What is asked.
            line: The way to the parent while the operation runs.
        """
        if request.operation is Operation.SCORE:
            assert request.spec is not None
            return Reply(metrics=self._score(request.spec))
        if request.operation is Operation.WARMUP:
            assert request.spec is not None
            metrics = self._warm_up(request.spec)
            found = self._watch.after_warm_up() if self._watch else ()
            form = self._work.matmul_format if self._work else ""
            return Reply(metrics=metrics, fallbacks=tuple(found), matmul_format=form)
        if request.operation is Operation.BLOCK:
            return Reply(values=self._block())
        if request.operation is Operation.PERCENTILES:
            return Reply(metrics=self._latencies.percentiles(self._spec.model.task))
        if request.operation is Operation.PEAKS:
            return Reply(metrics=self._peaks())
        if request.operation is Operation.MEMORY:
            found = self._watch.after_blocks() if self._watch else ()
            metrics, notes = self._peaks() | self._phases(), self._prepared.engine.notes()
            return Reply(metrics=metrics, fallbacks=tuple(found), notes=notes)
        if request.operation is Operation.TASKS:
            return self._run_tasks()
        if request.operation is Operation.GENERATE:
            assert request.spec is not None
            return self._generate(request.spec, request, line)
        if request.operation is Operation.OUTPUTS:
            assert request.spec is not None
            return self._write_outputs(request.spec, request, line)
        assert request.operation is Operation.ENERGY, request.operation
        return Reply(metrics=measure_energy(self._spec, self._run))

    def _check_finite(self) -> None:
        try:
            outputs = self._first_outputs()
        except NoOutputs as reason:  # a request's own numbers are looked at in the warm-up
            self._prepared.context.notes.append(f"accuracy is unknown: {reason}")
            return
        if not torch.isfinite(outputs).all():
            raise BenchError(
                Outcome.INVALID_OUTPUT, "the model's outputs on the first prompt are not finite"
            )

    def _first_outputs(self) -> torch.Tensor:
        engine = self._prepared.engine
        return engine.outputs(take(self._prepared.tokens.prompts, 1), engine.resolve({}))

    def _count_work(self) -> Work | None:
        """Before anything is compiled: compiled code cannot be watched. A model that cannot be
        counted is measured all the same."""
        made, why = self._prepared, "torch does not see what its engine computes"
        try:
            work = count_work(made.model, made.engine.passes(take(made.tokens.prompts, 1)))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            work, why = None, f"{type(error).__name__}: {error}"
        if work is None:
            made.context.notes.append(f"the work of a pass cannot be counted: {why}")
        return work

    def _score(self, spec: TrialSpec) -> Metrics:
        meter = AccuracyMeter(
            self._prepared.engine,
            self._prepared.run_args(spec.recipe),
            spec.model.task,
            self._prepared.tokens.evaluation,
            *reference_files(spec),
        )
        if spec.recipe:
            try:
                # A first look at some windows would see some of the adapters.
                early = None if spec.workload.adapters else _breaks_a_limit(spec)
                return meter.score(early)
            except NoOutputs as reason:
                return unknown_accuracy(spec.model.task, str(reason))
        meter.save_reference()
        return meter.score() | meter.self_floor()

    def _run_tasks(self) -> Reply:
        scores = tuple(run_tasks(self._prepared, self._spec))
        return Reply(tasks=scores, metrics=score_metrics(scores))

    def _generate(self, spec: TrialSpec, request: Request, line: Line) -> Reply:
        made = self._prepared
        run_args = made.run_args(spec.recipe)
        prompts = _batch_of(request, spec)
        made.engine.on_tokens = line.tell if request.stream else None
        try:
            tokens = made.engine.generate(prompts, run_args, request.new_tokens)
        except Stopped:
            return Reply()
        finally:
            made.engine.on_tokens = None
        return Reply(tokens=tuple(map(tuple, tokens.tolist())))

    def _write_outputs(self, spec: TrialSpec, request: Request, line: Line) -> Reply:
        made, batch = self._prepared, _batch_of(request, spec)
        run_args = made.run_args(spec.recipe)
        try:
            found = made.engine.outputs(batch, run_args).float()
        except NoOutputs:
            asked = request.model_copy(update={"new_tokens": _TOKENS})
            return self._generate(spec, asked, line)
        save_file({"outputs": found.contiguous().cpu()}, request.path)
        return Reply()

    def _warm_up(self, spec: TrialSpec) -> Metrics:
        """Drives until three blocks agree; the very first request is the cold one."""
        first = not self._compiled
        self._compile()
        self._run_args = self._prepared.run_args(spec.recipe)
        self._prompts = take(self._prepared.tokens.prompts, self._run_args["batch_size"])
        self._prepared.engine.forget()
        allocator.settle()
        cold = self._run()[0]
        self._memory.start()
        self._run()
        if not self._prepared.engine.last_finite:
            raise BenchError(Outcome.INVALID_OUTPUT, "a request gave logits that are not finite")
        latencies: list[float] = []
        while len(latencies) < spec.settings.warmup_blocks and not _steady(latencies):
            latencies.append(self._block()["e2e_latency_seconds"])
        self._latencies.clear()
        begun = cold.last - cold.start
        costs = {"first_request_seconds": _cold(begun, first, "first request of this process")}
        if self._watch:
            costs["compile_seconds"] = _cold(self._watch.seconds(), first, "torch's own count")
        return costs | self._work_metrics()

    def _work_metrics(self) -> Metrics:
        if self._work is None or self._prepared.tokens.traffic:  # its passes are not alike
            return {}
        plain = self._prepared.engine.plain_steps(self._run_args)
        return self._work.metrics(*self._prompts["input_ids"].shape, plain_steps=plain)

    def _compile(self) -> None:
        """Transforms of the compile phase come last: accuracy was scored before them."""
        if not self._compiled:
            if "compiled" in self._asked:
                self._watch = CompileWatch(self._asked, self._spec.device)
            if self._group is not None:
                self._group.ask_all("compile")
            if compile_model(self._prepared, self._spec) and self._group is not None:
                self._prepared.engine = ParallelEngine(self._prepared.engine, self._group)
            self._compiled = True

    def _run(self) -> Sequence[Timing]:
        """One request, or all of the workload's traffic."""
        engine, traffic = self._prepared.engine, self._prepared.tokens.traffic
        if traffic:
            return engine.serve(traffic, self._run_args)
        return [engine.request(self._prompts, self._run_args)]

    def _block(self) -> dict[str, float]:
        block = speed.run_block(self._run, self._spec.settings.block_seconds)
        self._latencies.add(block.timings)
        return speed.speed_values(block)

    def _peaks(self) -> Metrics:
        """The headline."""
        found = self._memory.read()
        if reason := self._prepared.engine.elsewhere:
            return {n: Measurement.unavailable(m.unit, reason) for n, m in found.items()}
        return found

    def _phases(self) -> Metrics:
        """After the headline: the request that splits it by phase resets the peaks."""
        engine, generates = self._prepared.engine, self._spec.model.task == "causal-lm"
        return request_phases(self._memory, engine, self._run, generates)


def _batch_of(request: Request, spec: TrialSpec) -> Batch:
    ids = torch.tensor(request.prompts, device=spec.device.torch_name)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _breaks_a_limit(spec: TrialSpec) -> Callable[[Metrics], bool] | None:
    """Whether accuracy breaks a constraint beyond its interval; None where none limits it."""
    limits = [
        limit
        for limit in constraints.parse_all(spec.constraints)
        if METRICS[limit.metric].family is Family.ACCURACY
    ]
    return (lambda found: any(c.surely_violated(found) for c in limits)) if limits else None


def _cold(seconds: float, first: bool, source: str) -> Measurement:
    if first:
        return Measurement(value=seconds, unit="s", source=source)
    reason = "the process was warm from an earlier trial"
    return Measurement.unavailable("s", reason)


def _steady(latencies: list[float]) -> bool:
    latest = latencies[-3:]
    return len(latest) == 3 and max(latest) <= min(latest) * (1 + _STEADY)


def _environment() -> dict[str, str]:
    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "torch_threads": str(torch.get_num_threads()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
