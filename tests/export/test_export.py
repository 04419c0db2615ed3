"""Every kind of recipe: what is loaded again is what the trial was, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import autotune
from autotune.export.files import list_files
from autotune.export.loaded import LoadedModel
from export_support import TOKENS, MakePlan, export, trial_outputs

pytestmark = pytest.mark.slow

RECIPES: dict[str, dict[str, Any]] = {
    "bfloat16": {"precision": {"dtype": "bfloat16"}, "threads": {"intra_op": 1}},
    "int8_dynamic": {"quantize": {"scheme": "int8_dynamic"}, "batch": {"size": 2}},
    "embedding": {
        "embedding": {"format": "int8"},
        "prune": {"method": "structured", "ratio": 0.5},
        "quantize": {"scheme": "intx", "weight_bits": 3, "rounding": "gptq"},
    },
    "bitmask": {"prune": {"method": "wanda_2_4", "storage": "bitmask"}},
    "distilled": {
        "prune": {"method": "depth", "ratio": 0.5},
        "distill": {"train": "full", "steps": 50},
    },
    "assistant": {"speculative": {"method": "assistant"}},
    "settings": {
        "attention": {"kernel": "sdpa", "backend": "math"},
        "cache": {"kind": "static"},
    },
    "offload": {"offload": {"where": "disk"}},
    "onnxruntime": {"engine": {"backend": "onnxruntime", "precision": "int8_dynamic"}},
    "openvino": {"engine": {"backend": "openvino"}},
}
"""All that a bench process takes part in; tests/bench/test_exported.py has the other weights."""

ORDINARY = RECIPES.keys() - {"int8_dynamic", "embedding", "bitmask", "assistant"}
"""Those that transformers alone can load."""


@pytest.mark.parametrize("name", RECIPES)
def test_a_loaded_export_computes_what_the_trial_does(
    name: str, plan_of: MakePlan, tmp_path: Path
) -> None:
    recipe, folder = RECIPES[name], tmp_path / "served"
    plan = plan_of(recipe)
    found = export(plan, recipe, folder)
    with autotune.load(folder) as model:
        assert isinstance(model, LoadedModel)
        assert model.recipe == found.recipe
        logits = np.stack(model.logits(TOKENS))
        (answer,) = model.generate(TOKENS[:1], max_new_tokens=4)
        assert len(answer.token_ids) <= 4
    expected = trial_outputs(plan, recipe)
    assert found.max_abs_difference == 0
    np.testing.assert_array_equal(logits, expected)
    assert (folder / "structure.json").is_file() == (name not in ORDINARY)


def test_an_ordinary_export_is_a_checkpoint_in_shards(plan_of: MakePlan, tmp_path: Path) -> None:
    recipe, folder = RECIPES["bfloat16"], tmp_path / "served"
    plan = plan_of(recipe)
    export(plan, recipe, folder, max_shard_bytes=100_000)
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    with torch.inference_mode():
        logits = torch.cat([model(torch.tensor([ids])).logits.float() for ids in TOKENS]).numpy()
    np.testing.assert_array_equal(logits, trial_outputs(plan, recipe))
    card = (folder / "README.md").read_text()
    assert "vllm serve" in card
    assert "precision bfloat16" in card


def test_a_quantized_export_holds_quantized_weights_and_says_who_cannot_load_it(
    plan_of: MakePlan, tmp_path: Path
) -> None:
    recipe, folder = RECIPES["int8_dynamic"], tmp_path / "served"
    export(plan_of(recipe), recipe, folder, max_shard_bytes=100_000)
    files = sorted(folder.glob("weights-*.safetensors"))
    assert len(files) > 1
    stored = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert stored["model.layers.0.self_attn.q_proj.weight.qdata"].dtype == torch.int8
    assert "vLLM and TGI cannot load" in (folder / "README.md").read_text()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(folder)
    assert json.loads((folder / "recipe.json").read_text())["quantize"]


def test_an_engine_is_loaded_from_its_own_files(plan_of: MakePlan, tmp_path: Path) -> None:
    recipe, folder = RECIPES["onnxruntime"], tmp_path / "served"
    plan = plan_of(recipe)
    found = export(plan, recipe, folder)
    assert "onnxruntime.InferenceSession" in (folder / "README.md").read_text()
    # What is not looked at can be anything.
    weights = folder / "model.safetensors"
    save_file({"x": torch.zeros(1)}, weights)
    files = list_files(folder)
    files.pop("export.json")
    changed = found.model_copy(update={"files": files})
    (folder / "export.json").write_text(changed.model_dump_json())
    with autotune.load(folder) as model:
        assert isinstance(model, LoadedModel)
        logits = np.stack(model.logits(TOKENS))
    np.testing.assert_array_equal(logits, trial_outputs(plan, recipe))
