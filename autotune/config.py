"""The study file: everything that defines a search, checked at the door."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from autotune import constraints, metrics
from autotune.errors import InputError, unknown_name
from autotune.measure_settings import MeasureSettings
from autotune.params import Scalar
from autotune.plugin import Trait
from autotune.presets import with_preset
from autotune.strict_yaml import load_yaml
from autotune.traffic import Traffic
from autotune.trust import Trust

TASKS = ("causal-lm", "sequence-classification", "feature-extraction")
"""What a model can be asked to do."""


_GROWTH_RATIO = 0.01


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class Budget(_Section):
    """When the search stops, whichever comes first: no new trial is started then. Nothing given
    stands for 40 trials, or for the whole pool where that has at most 50 recipes."""

    trials: int | None = Field(default=None, gt=0)
    """Trials of all runs, the baseline included."""
    minutes: float | None = Field(default=None, gt=0)
    """Minutes of this run."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Wall clock of finished trials times the GPUs of each, of all runs."""
    kwh: float | None = Field(default=None, gt=0)
    """Measured power of finished trials times their wall clock, of all runs."""
    patience_trials: int | None = Field(default=None, gt=0)
    """Finished trials in which the front's hypervolume grows by no more than the next key says."""
    patience_growth_ratio: float = Field(default=_GROWTH_RATIO, ge=0)
    """Growth of the hypervolume, as a share of itself, that counts as none."""

    @property
    def is_given(self) -> bool:
        """Whether anything but the size of the pool ends the search."""
        limits = (self.trials, self.minutes, self.gpu_hours, self.kwh, self.patience_trials)
        return any(limit is not None for limit in limits)


class WorkloadFile(_Section):
    """What each recipe has to do."""

    prompt_tokens: int = Field(default=128, ge=1, le=131_072)
    """Tokens of each prompt (of each text for encoders)."""
    new_tokens: int = Field(default=32, ge=1, le=131_072)
    """Tokens generated for each prompt, exactly; end-of-sequence is ignored."""
    evaluation_text: str | None = None
    """A UTF-8 text file; none takes the shipped held-out text."""
    calibration_text: str | None = None
    """A UTF-8 text file; none takes the shipped calibration text."""
    task_files: tuple[str, ...] = ()
    """Items with right answers (labelled ``.jsonl`` or ``.csv``; ``.yaml`` of lm-eval), run for
    the baseline and what survives the search."""
    evaluation_positions: int = Field(default=4096, ge=64)
    """Token positions of the evaluation text that accuracy is scored on."""
    evaluation_window_tokens: int = Field(default=256, ge=2)
    """Tokens of one window of the evaluation text."""
    calibration_sequences: int = Field(default=16, ge=1)
    """Sequences of the calibration text that plugins may look at."""
    traffic: Traffic | None = Field(default=None, exclude_if=lambda given: given is None)
    """Requests that differ in length, repeat, or share a prefix; none: they are alike, and the
    definition is that of studies from before there was traffic."""

    @model_validator(mode="after")
    def _check_prefix(self) -> Self:
        if self.traffic is None:
            return self
        shortest, _ = self.traffic.prompt_range(self.prompt_tokens)
        if (shared := self.traffic.shared_prefix_tokens) >= shortest:
            raise InputError(
                f"workload.traffic.shared_prefix_tokens: {shared} is not less than the {shortest} "
                "tokens of the shortest prompt; each needs at least one token of its own"
            )
        return self

    @property
    def traits(self) -> frozenset[Trait]:
        """What plugins may need of the requests."""
        return self.traffic.traits if self.traffic else frozenset({Trait.UNIFORM})


class Confirm(_Section):
    """Repetitions in fresh processes, once the search is over: headlines come from them."""

    points: Literal["picks", "front"] = "front"
    """What is repeated besides the baseline."""
    processes: int = Field(default=3, ge=0, le=100)
    """Fresh processes for each; 0 leaves the numbers as the search measured them."""
    target_half_width_ratio: float = Field(default=0.01, gt=0)
    """As in ``measure``, for the repetitions."""
    max_pairs: int = Field(default=30, ge=6)
    """As in ``measure``, for the repetitions."""


class StudyFile(_Section):
    """One search."""

    name: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=100)
    """Names the study in the database and its folder; empty derives it from the model."""
    model: str = Field(min_length=1)
    """A checkpoint directory, a hub id, or ``demo`` / ``demo-tiny``."""
    task: Literal["auto", "causal-lm", "sequence-classification", "feature-extraction"] = "auto"
    """What the model is served for; ``auto`` reads it from the model's architecture."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` takes a GPU where there is one."""
    worker: str = Field(default="", max_length=200)
    """Name of a worker: where several kinds are up, it and those like it measure."""
    preset: str = ""
    """What is taken where this study says nothing else; see ``autotune presets``."""
    plugins: dict[str, dict[str, tuple[Scalar, ...]]] | None = None
    """Plugin → param → values to try; ``{}`` takes all values, none takes all plugins."""
    objectives: tuple[str, ...] | None = None
    """Metrics, or aims such as ``latency``; none takes throughput, memory, energy, accuracy."""
    constraints: tuple[str, ...] = ()
    """E.g. ``kld_mean_nats<=0.05``."""
    workload: WorkloadFile = WorkloadFile()
    """What each recipe has to do."""
    measure: MeasureSettings = MeasureSettings()
    """How carefully each trial is measured."""
    confirm: Confirm = Confirm()
    """What is repeated in fresh processes once the search is over."""
    budget: Budget = Budget()
    """When the search stops."""
    try_first: tuple[dict[str, dict[str, Scalar]], ...] = ()
    """Recipes (plugin → param → value) that are measured right after the baseline, e.g. what is in
    service today; their values need not be among those to try."""
    sampler: str = "autotune"
    """``autotune``, ``random``, ``grid`` (the pool's order), or a sampler of Optuna's: ``tpe``,
    ``gp``, ``nsga2``, ``nsga3``, ``qmc``, or the name of its class."""
    warm_start: bool = True
    """Begin with what the most similar study of the same database has measured."""
    trust_remote_code: bool = False
    """Lets the model's repository run its own Python code."""
    allow_pickle: bool = False
    """Takes pickled weights where a model has no others."""
    allow_power_changes: bool = False
    """Lets plugins set power limits, clocks and governors while a trial runs."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of every random choice."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """What the preset says where the study says nothing."""
        return with_preset(given) if isinstance(given, dict) else given

    @field_validator("plugins", mode="before")
    @classmethod
    def _read_plugins(cls, given: Any) -> Any:
        """Also takes a list of names, and a single value where a list is expected."""
        if isinstance(given, list | tuple) and all(isinstance(name, str) for name in given):
            return {name: {} for name in given}
        if isinstance(given, list | tuple):
            raise InputError(
                "plugins is a list of names, or maps names to params: {batch: {size: [1, 8]}}"
            )
        if not isinstance(given, dict):
            return given
        return {name: _lists(values) for name, values in given.items()}

    @field_validator("try_first", mode="before")
    @classmethod
    def _check_recipes(cls, given: Any) -> Any:
        """Refuses what is no list of recipes in words of a study file."""
        if not isinstance(given, list | tuple) or not all(map(_is_recipe, given)):
            raise InputError(
                f"try_first: {given!r} is no list of recipes, each with one value for a param: "
                "[{batch: {size: 8}}, {quantize: {scheme: int8_weight_only}}]"
            )
        return given

    @model_validator(mode="after")
    def _check_names(self) -> StudyFile:
        constraints.parse_all(self.constraints)
        if self.objectives is not None:
            for name in self.objectives:
                if name not in (*metrics.AIMS, *metrics.METRICS):
                    no_metric = unknown_name("metric", name, metrics.METRICS, "autotune metrics")
                    raise InputError(f"{no_metric}; or an aim: {', '.join(metrics.AIMS)}")
            if not self.objectives or len(set(self.objectives)) < len(self.objectives):
                raise InputError("objectives must name at least one metric, each once")
        return self

    @model_validator(mode="after")
    def _check_patience(self) -> Self:
        ratio = self.budget.patience_growth_ratio
        if ratio != _GROWTH_RATIO and self.budget.patience_trials is None:
            raise InputError(
                f"budget.patience_growth_ratio: {ratio:g} has no effect without "
                "budget.patience_trials: give the number of trials in which the front has to grow"
            )
        return self

    @property
    def trust(self) -> Trust:
        """What the model's files may do, and plugins to the machine."""
        return Trust(**{name: getattr(self, name) for name in Trust.model_fields})

    def definition(self) -> dict[str, Any]:
        """All but its name and who measures, as JSON data: what makes the study what it is, and
        what it may cost."""
        return self.model_dump(mode="json", exclude={"name", "worker"})


def _is_recipe(given: Any) -> bool:
    return isinstance(given, dict) and all(
        isinstance(values, dict) and all(isinstance(v, Scalar) for v in values.values())
        for values in given.values()
    )


def _lists(values: Any) -> Any:
    if values is None:
        return {}
    if not isinstance(values, dict):
        return values
    return {k: v if isinstance(v, list | tuple) else [v] for k, v in values.items()}


def read_study(path: Path) -> StudyFile:
    """Reads a study file.

    Raises:
        InputError: It does not exist, is not YAML, or holds an unknown key or a bad value.
    """
    return build_study(read_keys(path), str(path))


def read_keys(path: Path) -> dict[str, Any]:
    """The keys and values of a study file, not checked yet.

    Raises:
        InputError: It does not exist or is not YAML.
    """
    try:
        data = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the study file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the study file {path} is not UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} must hold keys and values, such as 'model: demo'")
    return data


def build_study(
    data: dict[str, Any], source: str, options: Mapping[str, str] | None = None
) -> StudyFile:
    """Checks a study's keys and values.

    Args:
        data: The parsed file, or the command line's options.
        source: Where they come from, for the error.
        options: Keys (``budget.trials``) that an option of the command line gave, and its name.

    Raises:
        InputError: An unknown key (with a suggestion), or a value that is not allowed.
    """
    try:
        return StudyFile.model_validate(data)
    except ValidationError as error:
        raise InputError(in_words(error.errors(), source, options)) from error


def in_words(errors: Iterable[Any], source: str, options: Mapping[str, str] | None = None) -> str:
    """What is wrong with a study file.

    Args:
        errors: From pydantic.
        source: Where the keys come from.
        options: As in ``build_study``.
    """
    return "; ".join(_words(error, source, options or {}) for error in errors)


def _words(error: Any, source: str, options: Mapping[str, str]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if where in options:
        return f"{options[where]}: {error['msg']} (given: {error['input']!r})"
    return f"{source}: {_words_of_key(error, where)}"


def _words_of_key(error: Any, where: str) -> str:
    if error["type"] == "extra_forbidden":
        return unknown_name("key", where, _keys_beside(error["loc"]))
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    given = error["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{where}: {error['msg']}{shown}"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The allowed keys of the section that an unknown key stands in, with their full path."""
    section: type[BaseModel] = StudyFile
    *path, _ = location
    for part in path:
        annotation = section.model_fields[str(part)].annotation
        for kind in (annotation, *get_args(annotation)):  # a section, or one that may be left out
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                section = kind
    prefix = "".join(f"{part}." for part in path)
    return [prefix + name for name in section.model_fields]
