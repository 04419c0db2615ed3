"""What travels between coordinator, executor and bench process: frozen, JSON, nothing else."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field

from autotune.device import Device
from autotune.measure_settings import MeasureSettings
from autotune.message import Message
from autotune.metrics import METRICS, Family
from autotune.outcome import Outcome
from autotune.params import Scalar
from autotune.statistics import Interval
from autotune.traffic import Traffic
from autotune.trust import DATA_ONLY, Trust

RecipeDict = dict[str, dict[str, Scalar]]
"""A recipe as plain data: plugin name → its active params."""


CONFIRMED = "confirmed"
"""``Measurement.stat`` of a value from fresh processes."""


class Grade(StrEnum):
    """How far a value that was timed may be trusted."""

    A = "A"
    """The machine was quiet, and the interval is as narrow as asked for."""
    B = "B"
    """Some contention or drift, or not converged: compare only by paired ratios."""
    C = "C"
    """Too disturbed or too wide: shown, and nothing is picked by that value."""


class Measurement(Message):
    """One value of one metric, with what is known about its uncertainty."""

    value: float | None
    """In the metric's unit; null means not measured, and ``reason`` says why."""
    unit: str
    stat: str = "value"
    """``value`` (one reading), ``median``, ``mean``, ``p90`` and the like, ``median_ratio`` (the
    baseline's own value times the median of paired ratios), ``unpaired_median`` (of blocks without
    the baseline beside them), ``confirmed``, ``confirmed_ratio`` or ``confirmed_unpaired`` (from
    fresh processes)."""
    ci_low: float | None = None
    """Lower end of the 95 % interval; null where one reading is exact."""
    ci_high: float | None = None
    """Upper end of the 95 % interval."""
    n: int = 1
    """Independent samples behind the value."""
    source: str = ""
    """What took it, e.g. ``VmHWM`` or ``measured:counter:nvml``."""
    reason: str = ""
    """Why the value is null."""
    converged: bool = True
    """False: the budget ran out before the interval was as narrow as asked for."""
    grade: Grade | None = None
    """How quiet the machine was; null where noise cannot change the value."""
    ratio: float | None = None
    """Median paired ratio to the baseline, where blocks alternated with it."""
    ratio_ci_low: float | None = None
    ratio_ci_high: float | None = None

    @classmethod
    def unavailable(cls, unit: str, reason: str) -> Self:
        """What nobody could measure, and why."""
        return cls(value=None, unit=unit, source="unavailable", reason=reason)

    @classmethod
    def of(
        cls,
        found: Interval,
        unit: str,
        stat: str,
        source: str,
        ratio: Interval | None = None,
        **more: Any,
    ) -> Self:
        """A measurement from an interval and, where there is one, that of the ratio to the
        baseline; ``n`` is the interval's unless given."""
        return cls(
            value=found.value,
            ci_low=found.low,
            ci_high=found.high,
            unit=unit,
            stat=stat,
            source=source,
            ratio=ratio.value if ratio else None,
            ratio_ci_low=ratio.low if ratio else None,
            ratio_ci_high=ratio.high if ratio else None,
            **({"n": found.n} | more),
        )

    @property
    def interval(self) -> Interval | None:
        """The value with its interval; None where it was not measured."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return Interval(self.value, self.low, self.high, self.n)

    @property
    def ratio_interval(self) -> Interval | None:
        """The ratio to the baseline with its interval; None where there is none."""
        if self.ratio is None or self.ratio_ci_low is None or self.ratio_ci_high is None:
            return None
        return Interval(self.ratio, self.ratio_ci_low, self.ratio_ci_high, self.n)

    @property
    def low(self) -> float | None:
        """The lower end of the interval, the value itself where there is none."""
        return self.value if self.ci_low is None else self.ci_low

    @property
    def high(self) -> float | None:
        """The upper end of the interval, the value itself where there is none."""
        return self.value if self.ci_high is None else self.ci_high


Metrics = dict[str, Measurement]
"""Measurements by metric name."""


class ModelRef(Message):
    """A model on this machine's disk."""

    path: str
    """A transformers checkpoint directory."""
    name: str
    """What the user called it."""
    task: str
    """``causal-lm``, ``sequence-classification`` or ``feature-extraction``."""
    fingerprint: str
    """SHA-256 over configuration, tokenizer and weight files."""
    trust: Trust = DATA_ONLY


TaskKind = Literal["labelled", "lm-eval"]
"""Labelled texts for a classifier, or a task of lm-eval for a causal language model."""


class TaskFile(Message):
    """Items with right answers, on this machine's disk."""

    name: str
    path: str
    kind: TaskKind
    identity: str
    """SHA-256 over all files that the result depends on, and the version of lm-eval."""


class TaskScore(Message):
    """How many items of a task came out right; everything else follows from these counts."""

    name: str
    n: int = Field(ge=1)
    """Items."""
    correct: int = Field(ge=0)
    gained: int | None = None
    """Items that the baseline had wrong and that are right; null for the baseline itself."""
    lost: int | None = None
    """Items that the baseline had right and that are wrong."""


class AdapterFile(Message):
    """A LoRA adapter on this machine's disk."""

    name: str
    path: str
    """A folder as peft writes it."""
    identity: str
    """SHA-256 over its configuration and weights."""


class Workload(Message):
    """What is run: the same tokens for every recipe."""

    prompt_tokens: int = Field(default=128, ge=1)
    """Tokens of each prompt (of each text for encoders)."""
    new_tokens: int = Field(default=32, ge=1)
    """Tokens generated per sequence, exactly; end-of-sequence is ignored."""
    evaluation_text: str
    """File of held-out text: accuracy and prompts come from it."""
    evaluation_sha256: str
    calibration_text: str
    """File of text that plugins may look at; disjoint from the evaluation text."""
    calibration_sha256: str
    tokens_file: str = ""
    """Of an exported model: the token ids, cut from the texts before; empty: they are cut anew."""
    evaluation_positions: int = Field(default=4096, ge=1)
    """Scored token positions (texts x tokens for encoders)."""
    evaluation_window_tokens: int = Field(default=256, ge=2)
    """Tokens of one evaluation chunk."""
    calibration_sequences: int = Field(default=16, ge=1)
    seed: int = 0
    traffic: Traffic | None = None
    """Requests that differ; null: each is one batch of prompts of one length."""
    adapters: tuple[AdapterFile, ...] = ()
    """Those that the traffic's requests ask for, by their place in it."""
    tasks: tuple[TaskFile, ...] = ()
    """Run for what the result rests on, once the search is over."""

    @property
    def evaluation_key(self) -> str:
        """Names everything about the text, and how it is read, that accuracy depends on."""
        together = "".join(one.identity for one in self.adapters)
        adapted = f":{hashlib.sha256(together.encode()).hexdigest()[:16]}" if together else ""
        return (
            f"{self.evaluation_sha256[:16]}:{self.calibration_sha256[:16]}:"
            f"{self.evaluation_positions}:{self.evaluation_window_tokens}:"
            f"{self.calibration_sequences}:{self.prompt_tokens}:{self.seed}{adapted}"
        )


Rivals = dict[int, dict[str, tuple[float, float, float]]]
"""Trial → objective → its value, and the ends of the interval in which it is compared."""

TASK_RUN = 0
"""The number under which a trial's run of the tasks is kept; its repetitions count from 1."""


class TrialSpec(Message):
    """One trial as the executor gets it: everything needed, nothing looked up."""

    study: str
    number: int
    """The trial's number in its study; results are idempotent by (study, number)."""
    recipe: RecipeDict
    recipe_key: str
    setup_key: str
    output_key: str
    model: ModelRef
    workload: Workload
    device: Device
    gpus: int = 1
    """How many GPUs of one host it takes; on a CPU 1."""
    settings: MeasureSettings
    known_accuracy: Metrics | None = None
    """Accuracy of this ``output_key``, if it was measured before."""
    baseline: Metrics | None = None
    """The baseline's metrics; null while the baseline itself is measured."""
    objectives: tuple[str, ...] = ()
    """The study's objectives; the first speed metric among them decides when to stop."""
    constraints: tuple[str, ...] = ()
    """As written, e.g. ``kld_mean_nats<=0.05``."""
    rivals: Rivals = Field(default_factory=dict)
    """Trials of the front when it was submitted, with every objective; empty: it is not raced."""
    seed: int = 0
    confirmation: int = 0
    """0 in the search; from 1 on, a repetition of the trial in fresh processes."""
    tasks_only: bool = False
    """True: nothing is timed; the workload's tasks are run in a process of their own."""
    directory: str
    """Where this trial's log goes."""
    cache_directory: str
    """Where reference log-probabilities and artifacts are kept."""
    exported: str = ""
    """An exported model's folder, in place of the checkpoint and of what plugins made of it."""


class BlockPair(Message):
    """One block of the candidate and the baseline's block beside it, raw."""

    candidate: dict[str, float]
    """Metric name → value of this block."""
    reference: dict[str, float]
    """Of the baseline; ``probe_seconds`` alone where a probe took its place."""
    candidate_first: bool
    """Which of the two ran first (random)."""


class Contention(Message):
    """What else happened on the machine while a trial's blocks were measured."""

    seconds: float
    """How long was looked."""
    foreign_cpu_ratio: float = 0.0
    """CPU time of processes outside the measurement over that of all CPUs."""
    steal_ratio: float = 0.0
    """CPU time that the hypervisor gave to other machines over that of all CPUs."""
    cpu_pressure_ratio: float | None = None
    """Share of the time in which some task waited for a CPU; null without the kernel's pressure
    stall information."""
    memory_pressure_ratio: float | None = None
    """Share of the time in which some task waited for memory."""
    throttled_ratio: float | None = None
    """Share of the time in which a control group's CPU quota stopped its processes."""
    thermal_throttles: int | None = None
    """How often a core was slowed down because it was hot; null where the kernel does not say."""
    involuntary_switches_per_second: float = 0.0
    """How often the measured processes were taken off a CPU that they wanted to keep."""
    foreign_gpu_processes: int | None = None
    """Processes of others on the GPU; null without one."""
    drift_ratio: float = 0.0
    """How much the baseline's own blocks, or the probe's, changed from their first half to their
    second."""
    lost_speed_ratio: float = 0.0
    """How much of the speed of its own trial the baseline lacked in its blocks."""
    paired: bool = True
    """False: the baseline did not fit beside the candidate, and a probe took its place."""


class TrialResult(Message):
    """What came of a trial."""

    number: int
    outcome: Outcome
    explanation: str = ""
    """For a person: why it failed or is infeasible; empty when all is well."""
    metrics: Metrics = Field(default_factory=dict)
    blocks: tuple[BlockPair, ...] = ()
    contention: Contention | None = None
    """What disturbed the blocks; null if none were measured."""
    phase_seconds: dict[str, float] = Field(default_factory=dict)
    """Wall clock of each phase: lock, prepare, baseline, score, warmup, measure, energy."""
    notes: tuple[str, ...] = ()
    """What plugins and the harness want a person to know."""
    fallbacks: tuple[str, ...] = ()
    """What ran otherwise than the recipe asked: ``asked for X, ran Y: reason``. Such a trial is
    never a pick."""
    warm: bool = False
    """True if a warm bench session was reused."""
    accuracy_reused: bool = False
    """True if accuracy came from an earlier trial with the same ``output_key``."""
    log: str = ""
    """The bench process's log file."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Versions inside the bench process."""
    tasks: tuple[TaskScore, ...] = ()
    """One for each task file; only of a run of the tasks."""

    @property
    def device_seconds(self) -> float:
        """How long it held its device: all phases but waiting for it."""
        return sum(s for phase, s in self.phase_seconds.items() if phase != "lock")

    @property
    def accuracy(self) -> Metrics:
        """The accuracy metrics that have a value, taken from the whole text."""
        return {
            name: found
            for name, found in self.metrics.items()
            if name in METRICS
            and METRICS[name].family is Family.ACCURACY
            and found.value is not None
            and found.converged
        }


class Progress(Message):
    """What a running trial is doing."""

    number: int
    phase: Literal["lock", "prepare", "baseline", "score", "warmup", "measure", "energy", "tasks"]
    detail: str = ""
