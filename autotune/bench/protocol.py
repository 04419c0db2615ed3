"""The JSON lines between a bench process and its parent."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from autotune.environment import accuracy_key
from autotune.hashing import sha256_json
from autotune.message import Message
from autotune.messages import Metrics, TaskFile, TaskScore, TrialSpec
from autotune.outcome import Outcome

PROBE_SECONDS = "probe_seconds"
"""The value of a block of the probe: one round of its work, in seconds."""


class Operation(StrEnum):
    """What the parent may ask for, in the order of a trial's life."""

    PROBE = "probe"
    """Time fixed work on the device, in a process that holds no model."""
    PREPARE = "prepare"
    """Load the model and apply the transforms. Once per process."""
    SCORE = "score"
    """Measure accuracy."""
    WARMUP = "warmup"
    """Compile, then drive with the recipe's run params until it is steady."""
    ROOF = "roof"
    """Measure the device's own rates; of the baseline's session, once per study."""
    BLOCK = "block"
    """Run one block and return each speed metric's value."""
    PERCENTILES = "percentiles"
    """Percentiles over the single requests of all blocks since the warm-up."""
    PEAKS = "peaks"
    """Peaks since the warm-up began, so far: they can only grow."""
    MEMORY = "memory"
    """Peaks since the warm-up began, and those of prefill and decode in one more request."""
    ENERGY = "energy"
    """Run energy windows."""
    TASKS = "tasks"
    """Run the workload's tasks; in a process that measures nothing else."""
    GENERATE = "generate"
    """Answer prompts; in a process that serves and measures nothing."""
    STOP = "stop"
    """End the generation that is streamed, whose reply then has no tokens. Has no reply of its
    own, and no effect where that one is over."""
    EXPORT = "export"
    """Prepare, and write what is to be exported into a folder. Once per process."""
    OUTPUTS = "outputs"
    """Write the outputs on token ids to a file, with what an engine without any generates."""
    CLOSE = "close"
    """End the process."""


class Request(Message):
    """One line to the bench process."""

    operation: Operation
    spec: TrialSpec | None = None
    """The trial; with probe, roof, prepare, score, warmup, generate, export and outputs."""
    prompts: tuple[tuple[int, ...], ...] = ()
    """Token ids, all of one length; with generate and outputs."""
    new_tokens: int = 0
    """To be generated for each; with generate."""
    stream: bool = False
    """Whether tokens are told as the engine makes them, in lines before the reply; with generate.
    An engine that cannot tell has them all in the reply."""
    path: str = ""
    """Where to: an empty folder with export, a file with outputs."""
    max_shard_bytes: int = 0
    """Of a file that holds several weights; with export."""


class ForkRequest(Message):
    """A message to the template of bench processes."""

    directory: str
    """The new process's working directory."""
    environment: dict[str, str]


class Fallback(Message):
    """Something that runs otherwise than the recipe asked."""

    what: str
    """A key of ``Plugin.expects``."""
    asked: str
    ran: str
    reason: str

    @property
    def words(self) -> str:
        """In one line, for a person."""
        return f"asked for {self.what} {self.asked}, ran {self.ran}: {self.reason}"


class Reply(Message):
    """One line from the bench process: an answer, or how the operation failed."""

    metrics: Metrics = Field(default_factory=dict)
    values: dict[str, float] = Field(default_factory=dict)
    """Raw values of a block."""
    notes: tuple[str, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    """What was found in this step; with prepare, warmup and memory."""
    matmul_format: str = ""
    """In which number format most of the model's products are computed; with warmup."""
    environment: dict[str, str] = Field(default_factory=dict)
    tasks: tuple[TaskScore, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    """What was generated for each prompt; in a line before the reply, what came since the last."""
    more: bool = False
    """Whether this is a line before the reply."""
    outcome: Outcome | None = None
    """Null when all went well."""
    explanation: str = ""


def reference_files(spec: TrialSpec) -> tuple[Path, Path]:
    """Where the baseline's log-probabilities for this model, text and device are kept.

    Returns:
        The ``.npy`` of log-probabilities (or embeddings) and the ``.npy`` of paired values.
    """
    conditions = accuracy_key(spec.device, spec.model.task)
    identity = [spec.model.fingerprint, spec.workload.evaluation_key, conditions]
    stem = Path(spec.cache_directory) / "reference" / sha256_json(identity)[:24]
    return stem.with_suffix(".logits.npy"), stem.with_suffix(".paired.npy")


def item_file(spec: TrialSpec, task: TaskFile) -> Path:
    """Where it is kept which items of a task the baseline has right: JSON with ``items`` (what
    names each) and ``correct``."""
    conditions = accuracy_key(spec.device, spec.model.task)
    identity = [spec.model.fingerprint, task.identity, conditions]
    return Path(spec.cache_directory) / "tasks" / f"{sha256_json(identity)[:24]}.json"
