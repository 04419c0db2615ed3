"""A model that plugins have changed, as plain files and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from autotune import registry
from autotune.bench.exported.checkpoint import is_structured, read_model, write_model
from autotune.bench.exported.values import Damaged, NotPlain, decode, encode
from autotune.bench.meters.memory import weights_bytes, weights_disk_bytes
from autotune.bench.prepare import in_order
from autotune.errors import InputError
from autotune.messages import TrialSpec
from autotune.params import Stage
from autotune.plugin import Context, Phase, Unsupported
from autotune.recipe import Recipe
from autotune.testing import fake_device

RECIPES: dict[str, dict[str, Any]] = {
    "baseline": {},
    "int8": {"quantize": {"scheme": "int8_weight_only"}},
    "int8_dynamic": {"quantize": {"scheme": "int8_dynamic"}},
    "int4": {"quantize": {"scheme": "int4_weight_only", "group_size": 32}},
    "intx": {"quantize": {"scheme": "intx", "weight_bits": 4}},
    "intx_int8": {"quantize": {"scheme": "intx", "weight_bits": 4, "activations": "int8"}},
    "gptq": {"quantize": {"scheme": "intx", "weight_bits": 3, "rounding": "gptq"}},
    "mixed": {"quantize": {"scheme": "intx_mixed", "target_bits": 4}},
    "embedding": {"embedding": {"format": "int8"}, "quantize": {"scheme": "int8_weight_only"}},
    "depth": {"prune": {"method": "depth", "ratio": 0.5}},
    "structured": {"prune": {"method": "structured", "ratio": 0.5}},
    "structured_int8": {
        "prune": {"method": "structured", "ratio": 0.5},
        "quantize": {"scheme": "int8_weight_only"},
    },
    "masks": {"prune": {"method": "wanda", "ratio": 0.5}},
    "csr": {"prune": {"method": "magnitude", "ratio": 0.9, "storage": "csr"}},
    "bitmask": {"prune": {"method": "wanda_2_4", "storage": "bitmask"}},
}

ORDINARY = {"baseline", "depth", "structured", "masks"}
"""Those that transformers alone can load."""

BFLOAT16 = {"int4"}

Changed = Callable[[Any, Mapping[str, Any]], Any]


@pytest.fixture
def changed() -> Changed:
    """Applies a recipe's transforms as a bench process does."""

    def change(model: Any, given: Mapping[str, Any]) -> Any:
        plugins = registry.installed().plugins
        recipe = Recipe.of(given, plugins).to_dict()
        ids = torch.randint(3, 256, (4, 16), generator=torch.Generator().manual_seed(2))
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        config = model.config.to_dict()
        task = "causal-lm" if hasattr(model, "lm_head") else "feature-extraction"
        context = Context(fake_device("cpu"), config, calibration=(batch,), task=task)
        for phase in Phase:
            for name, params in recipe.items():
                if plugins[name].phase is phase:
                    model = plugins[name].transform(model, params, context)
        return model.eval().requires_grad_(False)

    return change


def outputs(model: Any) -> torch.Tensor:
    ids = torch.randint(3, 256, (2, 12), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=ids)[0]
    return found


def reloaded(model: Any, kind: Any, folder: Path, max_shard_bytes: int = 1 << 30) -> Any:
    write_model(model, kind, folder, max_shard_bytes)
    if is_structured(folder):
        return read_model(folder, kind, "cpu", {}, mapped=False).requires_grad_(False)
    return kind.from_pretrained(folder).eval().requires_grad_(False)


@pytest.mark.parametrize("tied", [False, True], ids=["", "tied"])
@pytest.mark.parametrize("name", RECIPES)
def test_what_was_written_is_read(
    name: str, tied: bool, make_llama: Callable[..., Any], changed: Changed, tmp_path: Path
) -> None:
    model = make_llama(tie_word_embeddings=tied)
    model = changed(model.bfloat16() if name in BFLOAT16 else model, RECIPES[name])
    again = reloaded(model, AutoModelForCausalLM, tmp_path)
    assert is_structured(tmp_path) == (name not in ORDINARY)
    torch.testing.assert_close(outputs(again), outputs(model), rtol=0, atol=0)
    assert weights_bytes(again) == weights_bytes(model)
    assert weights_disk_bytes(again) == weights_disk_bytes(model)
    assert {k: type(v) for k, v in again.state_dict().items()} == {
        k: type(v) for k, v in model.state_dict().items()
    }


@pytest.fixture
def make_llama() -> Callable[..., Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {
        **{"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16},
        **{"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2},
    }

    def make(**changes: Any) -> Any:
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**(sizes | changes))).eval()

    return make


def test_embeddings_and_heads_that_are_looked_up_otherwise_are_read(
    make_llama: Callable[..., Any], changed: Changed, tmp_path: Path
) -> None:
    model = changed(make_llama(tie_word_embeddings=True), RECIPES["embedding"])
    again = reloaded(model, AutoModelForCausalLM, tmp_path)
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert again.model.embed_tokens.forward.__self__ is again.model.embed_tokens


def test_an_encoder_is_written_and_read(changed: Changed, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    torch.manual_seed(0)
    bert = BertModel(BertConfig(vocab_size=256, num_hidden_layers=2, **sizes)).eval()
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.mkdir()
    packed.mkdir()
    assert torch.equal(outputs(reloaded(bert, AutoModel, plain)), outputs(bert))
    assert not is_structured(plain)
    bert = changed(bert, RECIPES["structured_int8"])
    assert torch.equal(outputs(reloaded(bert, AutoModel, packed)), outputs(bert))
    assert is_structured(packed)


def test_an_assistant_comes_back_as_a_model(
    make_llama: Callable[..., Any], changed: Changed, tmp_path: Path
) -> None:
    model = changed(make_llama(), RECIPES["int8"])
    model.assistant = make_llama(num_hidden_layers=1)
    again = reloaded(model, AutoModelForCausalLM, tmp_path)
    assert torch.equal(outputs(again), outputs(model))
    assert torch.equal(outputs(again.assistant), outputs(model.assistant))


def test_weights_lie_in_memory_in_the_order_they_had(
    make_llama: Callable[..., Any], tmp_path: Path
) -> None:
    model = make_llama()
    linear = model.model.layers[0].mlp.up_proj
    linear.weight.data = linear.weight.data.t().contiguous().t()
    again = reloaded(model, AutoModelForCausalLM, tmp_path)
    assert again.model.layers[0].mlp.up_proj.weight.stride() == linear.weight.stride() == (1, 128)
    assert torch.equal(outputs(again), outputs(model))


def test_mapped_weights_stay_views_of_the_files(
    make_llama: Callable[..., Any], changed: Changed, tmp_path: Path
) -> None:
    write_model(changed(make_llama(), RECIPES["int8"]), AutoModelForCausalLM, tmp_path, 1 << 30)
    mapped = read_model(tmp_path, AutoModelForCausalLM, "cpu", {}, mapped=True)
    copied = read_model(tmp_path, AutoModelForCausalLM, "cpu", {}, mapped=False)
    maps = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in maps if str(tmp_path) in line]

    def is_mapped(model: Any) -> bool:
        place = model.model.layers[0].mlp.up_proj.weight.data.qdata.data_ptr()
        return any(int(low, 16) <= place < int(high, 16) for low, high in spans)

    assert is_mapped(mapped)
    assert not is_mapped(copied)
    assert torch.equal(outputs(mapped), outputs(copied))


def break_hook(model: Any) -> None:
    model.model.layers[0].register_forward_hook(lambda *_: None)


def break_attribute(model: Any) -> None:
    model.model.layers[1].secret = object()


def break_class(model: Any) -> None:
    class Local(torch.nn.Linear):
        """Cannot be found by its name."""

    model.lm_head = Local(64, 256)


def break_tensor(model: Any) -> None:
    class Local(torch.Tensor):
        """Cannot be taken apart."""

    weight = model.lm_head.weight.detach().as_subclass(Local)
    model.lm_head.weight = torch.nn.Parameter(weight, requires_grad=False)


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (break_hook, r"its module model\.layers\.0 has a hook, which is code"),
        (break_attribute, r"its attribute model\.layers\.1\.secret cannot be written: a object"),
        (break_class, r"its module lm_head cannot be built again: \S*Local is neither"),
        (break_tensor, r"lm_head\.weight is a Local, which cannot be taken apart"),
    ],
)
def test_what_is_no_plain_data_is_refused_before_weights_are_written(
    do: Callable[[Any], None], words: str, make_llama: Callable[..., Any], tmp_path: Path
) -> None:
    model = make_llama()
    do(model)
    with pytest.raises(Unsupported, match=words):
        write_model(model, AutoModelForCausalLM, tmp_path, 1 << 30)
    assert not list(tmp_path.glob("*.safetensors"))


def spoil(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("torchao.quantization", "os.path", "is neither of torch, transformers or torchao"),
        ("Int8Tensor", "Int9Tensor", "is not installed here"),
        ("torchao.quantization:Int8Tensor", "torch.nn.modules.linear:Linear", "is no Tensor"),
        (":Int8Tensor", ":PerRow", "is no class or function of that module"),
        ('"files": {', '"files": [], "x": {', "is damaged"),
        ('"lm_head.weight": "weights', '"lm_head.weight": "../weights', "in another folder"),
        ('"module": "lm_head"', '"module": "elsewhere"', "elsewhere"),
        ('{"modules"', '{"modules', "is damaged"),
    ],
)
def test_a_spoilt_structure_is_noticed(
    old: str,
    new: str,
    words: str,
    make_llama: Callable[..., Any],
    changed: Changed,
    tmp_path: Path,
) -> None:
    write_model(changed(make_llama(), RECIPES["int8"]), AutoModelForCausalLM, tmp_path, 1 << 30)
    spoil(tmp_path / "structure.json", old, new)
    with pytest.raises(InputError, match=words):
        read_model(tmp_path, AutoModelForCausalLM, "cpu", {}, mapped=False)


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("eval", {"method": "torch:threading.Thread.run"}, "takes the place of"),
        ("eval", {"method": "autotune_plugins.embedding:_look_up"}, "takes the place of"),
        ("forward", {"method": "torch:threading.Thread.run"}, "no class or function of that"),
        ("forward", {"method": "torch.nn.modules.module:Module.eval"}, "no function of a plugin"),
        ("forward", {"named": "torch.nn.functional:silu"}, "takes the place of"),
        ("dtype", {"torch": "int8"}, "takes the place of"),
        ("_forward_hooks", {"dict": []}, "takes the place of"),
        ("_target", {"named": "torch:os.system"}, "no class or function of that module"),
        ("_target", {"named": "torch.hub:load"}, "is code that no file may name"),
        ("other", {"method": "autotune_plugins.embedding:_look_up"}, "bound to nothing"),
    ],
)
def test_no_code_is_run_that_a_file_names(
    attribute: str,
    value: dict[str, Any],
    words: str,
    make_llama: Callable[..., Any],
    changed: Changed,
    tmp_path: Path,
) -> None:
    write_model(changed(make_llama(), RECIPES["int8"]), AutoModelForCausalLM, tmp_path, 1 << 30)
    file = tmp_path / "structure.json"
    structure = json.loads(file.read_text())
    structure["attributes"][""] = {"values": {attribute: value}, "gone": []}
    file.write_text(json.dumps(structure))
    with pytest.raises(InputError, match=words):
        read_model(tmp_path, AutoModelForCausalLM, "cpu", {}, mapped=False)


def test_weights_cut_short_are_noticed(
    make_llama: Callable[..., Any], changed: Changed, tmp_path: Path
) -> None:
    write_model(changed(make_llama(), RECIPES["int8"]), AutoModelForCausalLM, tmp_path, 1 << 30)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="is damaged"):
        read_model(tmp_path, AutoModelForCausalLM, "cpu", {}, mapped=False)


@dataclass(frozen=True)
class Elsewhere:
    """Of a package that no file may name."""

    size: int = 3


def test_values_survive_json_and_nothing_else_does() -> None:
    given = [None, True, 3, 0.5, float("inf"), "x", (1, (2, 3)), {1: "a"}, torch.int8]
    given += [torch.Size([2, 3]), Stage.MODEL.value, torch.nn.Linear, torch.strided]
    again = decode(json.loads(json.dumps(encode(given))), "cpu")
    assert again == given
    assert list(map(type, again)) == list(map(type, given))
    assert decode(encode(torch.device("cuda:1")), "cpu") == torch.device("cpu")
    for value in (object(), Elsewhere(), lambda: 1, {1, 2}):
        with pytest.raises(NotPlain):
            encode(value)
    for spoilt in (
        {"named": "os:system"},
        {"named": "torch:os.system"},
        {"named": "torch:hub.load"},
        {"named": "torch.hub:load"},
        {"method": "torch:threading.Thread.run"},
        {"method": "torch.nn.modules.module:Module.eval"},
        {"record": ["torch:Tensor", {}]},
        {"method": "torch.nn:Linear"},
        {"torch": "load"},
        {"odd": 1},
        {"a": 1, "b": 2},
    ):
        with pytest.raises(Damaged):
            decode(spoilt, "cpu", object())


def test_what_is_in_the_files_is_not_done_again() -> None:
    plugins = registry.installed().plugins
    given = {
        "attention": {"kernel": "sdpa", "backend": "math"},
        "compile": {"mode": "default"},
        "offload": {"where": "disk"},
        "precision": {"dtype": "bfloat16"},
        "speculative": {"method": "assistant"},
    }
    recipe = {n: Recipe.of({n: v}, plugins).to_dict()[n] for n, v in given.items()}
    trial = TrialSpec.model_construct(recipe=recipe, exported="")
    # The assistant is made before compiling; what comes before it is done in the trial's order.
    assert in_order(trial, plugins) == (["attention", "offload", "speculative"], [])
    loaded = trial.model_copy(update={"exported": "served"})
    assert in_order(loaded, plugins) == (["attention", "offload"], [])
    quick = {name: recipe[name] for name in ("attention", "precision")}
    trial = trial.model_copy(update={"recipe": quick})
    assert in_order(trial, plugins) == ([], ["attention"])
    prompting = Recipe.of({"speculative": {"method": "prompt_lookup"}}, plugins).to_dict()
    trial = trial.model_copy(update={"recipe": prompting})
    assert in_order(trial, plugins) == ([], ["speculative"])
