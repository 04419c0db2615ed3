"""The files of a checkpoint, or of an exported model, → a loaded model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from autotune.bench.exported.checkpoint import is_structured, read_model
from autotune.bench.loading import Loading, source_of
from autotune.errors import BenchError
from autotune.messages import TrialSpec
from autotune.outcome import Outcome
from autotune.params import Params
from autotune.plugin import Plugin
from autotune.space import merge


def model_class(spec: TrialSpec) -> tuple[Any, Any]:
    """The transformers class for the task and a model of it without weights, its code imported
    and torch's threads started, so that neither counts as the model's memory."""
    import transformers

    transformers.logging.disable_progress_bar()
    kinds: dict[str, Any] = {
        "causal-lm": transformers.AutoModelForCausalLM,
        "sequence-classification": transformers.AutoModelForSequenceClassification,
        "feature-extraction": transformers.AutoModel,
    }
    kind = kinds[spec.model.task]
    trust = spec.model.trust.trust_remote_code
    config = transformers.AutoConfig.from_pretrained(source_of(spec), trust_remote_code=trust)
    with torch.device("meta"):
        empty = kind.from_config(config, trust_remote_code=trust)
    torch.nn.functional.linear(torch.ones(256, 256), torch.ones(256, 256))
    return kind, empty


def load_arguments(spec: TrialSpec, plugins: Mapping[str, Plugin]) -> dict[str, Any]:
    """Those of all plugins, but for what an exported model's files hold already.

    Raises:
        Unsupported: Two plugins disagree.
    """

    def of(plugin: Plugin, params: Params) -> dict[str, Any]:
        in_files = spec.exported and plugin.is_in_weights(params)
        return {} if in_files else plugin.load_args(params)

    return merge(spec.recipe, plugins, of, "load argument")


def load_model(kind: Any, spec: TrialSpec, plugins: Mapping[str, Plugin]) -> Any:
    """The model as it comes from its files.

    Args:
        kind: From ``model_class``.
        spec: The trial.
        plugins: Whose load arguments count.

    Raises:
        BenchError: Weights are missing.
        InputError: The files of an exported model are damaged.
    """
    arguments = load_arguments(spec, plugins)
    loading = Loading.taken_from(arguments)
    # A model that is divided goes where its processes' ranks say.
    if spec.device.kind != "cpu" and "distributed_config" not in arguments:
        arguments.setdefault("device_map", {"": spec.device.torch_name})
    if is_structured(source_of(spec)):
        model = read_model(
            source_of(spec), kind, spec.device.torch_name, arguments, loading.mapped
        )
        loading.settle(model)
        return model.eval().requires_grad_(False)
    with loading.reading():
        model, found = kind.from_pretrained(
            source_of(spec),
            local_files_only=True,
            # None takes pickled weights only where there are no others.
            use_safetensors=None if spec.model.trust.allow_pickle and not spec.exported else True,
            weights_only=True,
            trust_remote_code=spec.model.trust.trust_remote_code,
            output_loading_info=True,
            **arguments,
        )
    _check_complete(found["missing_keys"], spec.model.task)
    loading.settle(model)
    return model.eval().requires_grad_(False)


def _check_complete(missing: Iterable[str], task: str) -> None:
    """transformers fills in random numbers for weights that a checkpoint lacks."""
    # The pooler's output is not used: embeddings are means of the last hidden states.
    unused = "pooler." if task == "feature-extraction" else None
    lacking = sorted(name for name in missing if not (unused and unused in name))
    if lacking:
        raise BenchError(
            Outcome.CRASHED,
            f"the checkpoint lacks {len(lacking)} weights that a {task} model needs, e.g. "
            f"{lacking[0]}; is the task right, and are all files there?",
        )
