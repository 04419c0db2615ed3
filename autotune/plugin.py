"""All that a plugin author reads: the base class, what it may require, how it says no."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from autotune.errors import AutotuneError
from autotune.params import Param, Params, Stage

if TYPE_CHECKING:
    # Not needed to declare a plugin: `import autotune` and `autotune --help` stay quick.
    from pathlib import Path

    import torch

    from autotune.device import Device

__all__ = [
    "Context",
    "Estimate",
    "Phase",
    "Plugin",
    "Processes",
    "Requires",
    "Trait",
    "Unsupported",
]

ModelConfig = Mapping[str, Any]
"""The model's ``config.json``, parsed."""


class Unsupported(AutotuneError):
    """A plugin cannot do what these params ask, here. Say why in one sentence for a person."""


class Phase(StrEnum):
    """When a plugin's transform runs; the core runs the phases in this order."""

    STRUCTURE = "structure"
    """Removes or replaces modules or weights: pruning."""
    RECOVER = "recover"
    """Trains what is left: distillation."""
    WEIGHTS = "weights"
    """Changes how weights are stored: quantization."""
    COMPILE = "compile"
    """Changes how the finished model is executed: compilation, graphs."""


class Trait(StrEnum):
    """What a workload's requests have that a plugin may need."""

    UNIFORM = "uniform"
    """Prompts of one length and answers of one length, all different: no ``workload.traffic``."""
    MIXED_LENGTHS = "mixed_lengths"
    """Prompts or answers differ in length."""
    SHARED_PREFIX = "shared_prefix"
    """Prompts begin with the same tokens."""
    REPEATS = "repeats"
    """A stated share repeats an earlier request."""
    TEXT = "text"
    """Requests come as text and are tokenized as part of serving them."""
    ADAPTERS = "adapters"
    """Each request asks for one of several LoRA adapters."""


@dataclass(frozen=True)
class Requires:
    """What must be there, as plain data: the coordinator decides without importing torch."""

    device: str | None = None
    """``cpu`` or ``cuda``; None for any."""
    packages: tuple[str, ...] = ()
    """Importable module names."""
    tasks: tuple[str, ...] = ()
    """Tasks the plugin knows (``causal-lm``, …); empty for all."""
    workload: tuple[Trait, ...] = ()
    """The workload must have one of these; empty for any. What pays only where requests repeat
    is never counted as speed where they do not."""


@dataclass(frozen=True)
class Estimate:
    """Analytic factors against the baseline; 1.0 means unchanged."""

    weights_bytes: float = 1.0
    flops: float = 1.0
    memory_traffic: float = 1.0


@dataclass(frozen=True)
class Processes:
    """How many processes of one host run a model together, and what each of them holds."""

    count: int = 1
    replicas: int = 1
    """Whole models among them: groups of ``count / replicas`` processes in a row hold the parts of
    one each (see ``load_args``), and share the sequences of a batch."""

    @property
    def parts(self) -> int:
        """How many processes hold one whole model among them."""
        return self.count // self.replicas


@dataclass(frozen=True)
class Context:
    """What a transform may use besides the model. It lives in the bench process."""

    device: Device
    """Where the model is, and what that device can do."""
    model_config: ModelConfig
    """The model's ``config.json``."""
    calibration: Sequence[Mapping[str, torch.Tensor]] = ()
    """Batches of calibration text as keyword arguments of ``model.forward``: ``input_ids`` and
    ``attention_mask``, each int64 ``[sequences, tokens]``. Never the evaluation text."""
    seed: int = 0
    """Seed for anything random."""
    task: str = "causal-lm"
    """What the model is served for: ``causal-lm``, ``sequence-classification``,
    ``feature-extraction``."""
    prompt_tokens: int = 0
    """Of each prompt of the workload."""
    new_tokens: int = 0
    """Of each answer; 0 for encoders."""
    notes: list[str] = field(default_factory=list)
    """Append what a person should know about this trial; stored and shown with it."""
    teacher: Callable[[], Any] | None = None
    """Loads the original model as the baseline runs it, in eval mode on the device: none of the
    recipe's plugins has touched it. Every call loads it again; drop it when it is no longer
    needed, or it stays in memory beside the model. None where there is no checkpoint."""
    artifact: Path | None = None
    """A file of this plugin's own, in the user's cache folder, for the weights that its transform
    makes at great cost. Its name stands for everything that they depend on, so whoever finds it
    may take it in place of making them. It need not exist, nor its folder; write under another
    name and rename. None where nothing may be kept."""
    own_artifact: Path | None = None
    """As ``artifact``, for what is made of the original model: its name stands for that model and
    this plugin's own params, whatever else the recipe does."""
    engine_files: Path | None = None
    """Where an engine that computes from files of its own keeps them in an exported model. If it
    holds any, the engine takes them: the model has no weights then. None: nothing is exported."""


class Plugin:
    """One optimization technique.

    A subclass declares ``name`` and ``params``, has a docstring whose first line says in one
    sentence what it does, and overrides only the hooks it needs. A plugin whose params are all
    at their defaults is off: none of its hooks is called. Hooks are pure and small. ``check``,
    ``estimate``, ``gpus`` and ``processes`` run in the coordinator and must not import heavy
    libraries; ``env`` runs just before the bench process starts; all others run inside that
    process, where anything they raise ends that one trial: ``Unsupported`` as unsupported, all
    else as crashed.
    """

    name: ClassVar[str]
    """How studies and recipes name it: lower case, ``a-z0-9_``."""
    params: ClassVar[Mapping[str, Param]]
    """The search dimensions, in the order in which ``when`` may refer to them. Defaults do
    nothing."""
    requires: ClassVar[Requires] = Requires()
    conflicts: ClassVar[tuple[str, ...]] = ()
    """Plugins that can never be on together with this one; one side is enough."""
    phase: ClassVar[Phase] = Phase.WEIGHTS
    """When ``transform`` runs."""

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        """Refuses what cannot work for this model on this device, before any trial.

        Raises:
            Unsupported: These params make no sense here, and why.
        """

    def gpus(self, params: Params) -> int:
        """How many GPUs of one host a trial takes; the first of them is ``cuda:0`` to torch."""
        return 1

    def processes(self, params: Params) -> Processes:
        """How many processes run the model together; all of them do what the bench process does.
        Each computes on a GPU of its own, which need not be said in ``gpus``, or on its share of
        the CPU's cores."""
        return Processes()

    def env(self, params: Params) -> dict[str, str]:
        """Environment variables of the bench process.

        Raises:
            Unsupported: What they need is not installed on this worker.
        """
        return {}

    def imports(self, params: Params) -> tuple[str, ...]:
        """Modules that these params need, imported before the weights come: libraries count
        neither as the model's memory nor as time."""
        return self.requires.packages

    def device_settings(self, params: Params) -> dict[str, Any]:
        """What is set of the device while the recipe's own work runs, and restored after it.

        Keys: ``gpu_limit_ratio`` (of the board's default power limit), ``gpu_clock_ratio`` (of the
        highest SM clock), ``cpu_governor`` (a name). Only with the user's consent
        (``--allow-power-changes``); what cannot be set ends the trial as unsupported.
        """
        return {}

    def load_args(self, params: Params) -> dict[str, Any]:
        """Keyword arguments for ``from_pretrained``; dtypes by name (``"bfloat16"``).

        Two more say how weights come: ``mapped_weights`` (True: they stay views of the mapped
        checkpoint, on a CPU) and ``load_threads`` (how many read and convert them).
        """
        return {}

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        """Changes the loaded model, in place or not.

        Parameters that it keeps elsewhere and brings in when they are needed get an attribute
        ``offloaded``, true: they are no weights in memory.

        Args:
            model: A ``transformers.PreTrainedModel`` in eval mode on its device.
            params: This plugin's active params.
            context: Calibration text, device, seed.

        Returns:
            The model to go on with.
        """
        return model

    def is_in_weights(self, params: Params) -> bool:
        """Whether what ``transform`` did is in an exported model's files; if not, it is done again
        when that is loaded. By default it is where a ``MODEL`` param is on. A plugin says
        otherwise whose ``transform`` sets something of the process (then it is not), or adds
        weights for a param of another stage (then it is)."""
        return any(
            self.params[name].stage is Stage.MODEL and value != self.params[name].default
            for name, value in params.items()
        )

    def engine(self, model: Any, params: Params, context: Context) -> Any | None:
        """Builds another engine around the transformed model; None keeps the torch engine. What
        building takes counts as a transform. An engine that holds weights of its own frees the
        model's, and says so in ``Engine.own_weights``."""
        return None

    def run_args(self, params: Params) -> dict[str, Any]:
        """How the ready model is driven; the engine knows the keys (``batch_size``, ``cache``)."""
        return {}

    def expects(self, params: Params) -> Mapping[str, str]:
        """What must be found to run, or the trial is marked as one that fell back.

        Keys: ``dtype`` of the weights (``bfloat16``), ``attention`` (transformers' name of the
        implementation), ``sdpa`` (its backend, as torch.backends.cuda names it: ``math``),
        ``quantized`` (the scheme; every linear but the head), ``matmul`` (the format in which
        quantized linears multiply: ``int8``, ``float8``), ``compiled``
        (``fullgraph``), ``cuda_graphs`` (``on``), ``cpu_capability`` (torch's: ``AVX2``),
        ``allocator`` (the library that is malloc: ``jemalloc``), ``huge_pages``
        (``transparent``), ``engine`` (what ``Engine.ran`` says of itself:
        ``onnxruntime float32``).
        """
        return {}

    def estimate(self, params: Params, model_config: ModelConfig) -> Estimate:
        """Analytic factors on weights bytes, FLOPs and memory traffic."""
        return Estimate()
