"""Several LoRA adapters beside one model: each row goes through its own, and nobody else's."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torchao.quantization import Int8WeightOnlyConfig, quantize_
from transformers import GPT2Config, GPT2LMHeadModel

from autotune.bench.adapters import (
    KEY,
    Adapters,
    by_adapter,
    count_layers,
    lora_layers,
    require_adaptable,
)
from autotune.bench.engines import torch_engine
from autotune.bench.engines.serving import Server
from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.bench.fallbacks import is_quantized, linears_to_quantize
from autotune.demo.adapters import write_adapters
from autotune.engine import Request
from autotune.errors import InputError
from autotune.messages import AdapterFile, ModelRef
from autotune.params import Choice, Stage
from autotune.plugin import Phase, Plugin, Processes, Unsupported
from autotune.workload.adapters import read_adapters
from greedy import greedy_tokens

NUMBERS = (1, 0, 1, 1, 0, 0, 1, 0)
LENGTHS = [(9, 5), (3, 12), (17, 1), (4, 7), (4, 4), (12, 9), (1, 6), (20, 3)]
"""Tokens of prompts and answers."""


@pytest.fixture
def folders(chaotic: Any, tmp_path: Path) -> list[Path]:
    chaotic.save_pretrained(tmp_path / "model")
    return write_adapters(tmp_path / "model", tmp_path / "adapters", 2)


@pytest.fixture
def files(folders: list[Path]) -> list[AdapterFile]:
    return [AdapterFile(name=f.name, path=str(f), identity="0") for f in folders]


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(3, 97, (4, 11), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def requests() -> list[Request]:
    generator = torch.Generator().manual_seed(4)
    return [
        Request(torch.randint(3, 97, (prompt,), generator=generator), new, number)
        for (prompt, new), number in zip(LENGTHS, NUMBERS, strict=True)
    ]


# peft 0.21 asks transformers for a property that this has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def alone(folder: Path) -> Any:
    """The model of a checkpoint with one adapter, as peft itself loads both."""
    from transformers import LlamaForCausalLM

    path = folder.parents[1] / "model"
    model = LlamaForCausalLM.from_pretrained(path, dtype=torch.float64)
    found = PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
    return found.merge_and_unload().eval()  # one plain model: nothing that routes is left


def test_each_row_goes_through_its_own_adapter(
    chaotic: Any, files: list[AdapterFile], folders: list[Path], ids: torch.Tensor
) -> None:
    plain = chaotic(ids).logits
    adapters = Adapters(chaotic, files, layers=2)
    assert torch.equal(chaotic(ids).logits, plain), "none is used at first"
    wanted = [alone(folder)(ids).logits for folder in folders]
    for number in (0, 1, 0):
        adapters.use([number] * 4)
        torch.testing.assert_close(chaotic(ids).logits, wanted[number])
    adapters.use([1, None, 0, 1])
    mixed = torch.stack([wanted[1][0], plain[1], wanted[0][2], wanted[1][3]])
    torch.testing.assert_close(chaotic(ids).logits, mixed)
    assert not torch.allclose(wanted[0], wanted[1], atol=1e-3)
    adapters.use(())
    assert torch.equal(chaotic(ids).logits, plain)
    assert not any(weight.requires_grad for weight in chaotic.parameters())


def test_adapters_compute_in_the_format_of_the_model(
    chaotic: Any, files: list[AdapterFile]
) -> None:
    Adapters(chaotic.to(torch.bfloat16), files, layers=2)
    assert {weight.dtype for weight in chaotic.parameters()} == {torch.bfloat16}


def test_windows_of_a_text_take_turns(
    chaotic: Any, files: list[AdapterFile], folders: list[Path], ids: torch.Tensor
) -> None:
    engine = TorchGenerator(chaotic, 2, Adapters(chaotic, files, layers=2))
    turns = torch.tensor([0, 1, 0, 1])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    found = engine.outputs({**batch, KEY: turns}, engine.resolve({}))
    one, other = (alone(folder)(ids).logits.float() for folder in folders)
    torch.testing.assert_close(found, torch.where(turns.bool()[:, None, None], other, one))
    parts = {number: rows.tolist() for number, rows, _ in by_adapter({**batch, KEY: turns})}
    assert parts == {0: [0, 2], 1: [1, 3]}


def test_what_is_asked_without_an_adapter_is_the_models(
    chaotic: Any, files: list[AdapterFile], ids: torch.Tensor
) -> None:
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    before = TorchGenerator(chaotic, 6)
    logits = before.outputs(batch, before.resolve({}))
    tokens = before.generate(batch, before.resolve({}), 6)
    engine = TorchGenerator(chaotic, 6, Adapters(chaotic, files, layers=2))
    engine.outputs({**batch, KEY: torch.ones(4, dtype=torch.long)}, engine.resolve({}))
    assert torch.equal(engine.generate(batch, engine.resolve({}), 6), tokens)
    engine.outputs({**batch, KEY: torch.ones(4, dtype=torch.long)}, engine.resolve({}))
    assert torch.equal(engine.outputs(batch, engine.resolve({})), logits)


class Watched(Server):
    """Keeps what each pass was for."""

    made: Watched

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.batches: list[list[int | None]] = []
        Watched.made = self

    def _note(self, batch: Any, said: Any, rows: Any) -> None:
        self.batches.append([answer.request.adapter for answer in batch])
        super()._note(batch, said, rows)


POLICIES: list[dict[str, Any]] = [
    {"batch_size": 4},
    {"batch_size": 4, "batching": "sorted", "batching_window": 2},
    {"batch_size": 3, "batching": "continuous"},
    {"batch_size": 3, "prefix_entries": 4, "result_entries": 4},
]


@pytest.mark.parametrize("way", ["switched", "mixed"])
@pytest.mark.parametrize("args", POLICIES, ids=str)
def test_each_request_gets_the_tokens_of_its_adapter(
    chaotic: Any,
    files: list[AdapterFile],
    folders: list[Path],
    requests: list[Request],
    monkeypatch: pytest.MonkeyPatch,
    args: dict[str, Any],
    way: str,
) -> None:
    monkeypatch.setattr(torch_engine, "Server", Watched)
    engine = TorchGenerator(chaotic, 6, Adapters(chaotic, files, layers=2))
    both = [alone(folder) for folder in folders]
    prompt, other = requests[1], 1 - int(requests[1].adapter or 0)
    asked = [*requests, Request(prompt.prompt, prompt.new_tokens, other), prompt]
    for _ in range(2):  # nothing is left of the first time
        engine.serve(asked, engine.resolve({**args, "adapters": way}))
        for answer in Watched.made.answers:
            assert answer.tokens == greedy_tokens(
                both[answer.request.adapter or 0], answer.request
            )
    shared = [batch for batch in Watched.made.batches if len(set(batch)) > 1]
    assert bool(shared) is (way == "mixed")


def test_sorting_collects_more_for_each_adapter(
    chaotic: Any,
    files: list[AdapterFile],
    requests: list[Request],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def passes(**args: Any) -> int:
        engine.serve(requests, engine.resolve({"batch_size": 4, **args}))
        return len(Watched.made.batches)

    monkeypatch.setattr(torch_engine, "Server", Watched)
    engine = TorchGenerator(chaotic, 6, Adapters(chaotic, files, layers=2))
    assert passes(batching="sorted", batching_window=2) < passes(batching="arrival")


def test_packed_prompts_share_one_adapter(
    chaotic: Any,
    files: list[AdapterFile],
    folders: list[Path],
    requests: list[Request],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = TorchGenerator(chaotic, 6, Adapters(chaotic, files, layers=2))
    packed = {"batch_size": 4, "batching": "packed"}
    with pytest.raises(Unsupported, match="and so with one adapter"):
        engine.serve(requests, engine.resolve({**packed, "adapters": "mixed"}))
    monkeypatch.setattr(torch_engine, "Server", Watched)
    engine.serve(requests, engine.resolve(packed))
    both = [alone(folder) for folder in folders]
    for answer in Watched.made.answers:
        assert answer.tokens == greedy_tokens(both[answer.request.adapter or 0], answer.request)


def test_adapters_are_no_linears_that_should_have_been_quantized(
    chaotic: Any, files: list[AdapterFile]
) -> None:
    model = chaotic.float()
    quantize_(model.model, Int8WeightOnlyConfig())
    Adapters(model, files, layers=2)
    linears = linears_to_quantize(model)
    assert len(linears) == 14
    assert all(map(is_quantized, linears))
    assert len(lora_layers(model)) == 4


def test_an_adapter_of_the_head_does_not_count_either(chaotic: Any, tmp_path: Path) -> None:
    model = chaotic.float()
    config = LoraConfig(r=2, target_modules=["lm_head", "q_proj"])
    adapted = get_peft_model(copy.deepcopy(model), config)
    adapted.save_pretrained(tmp_path / "head", save_embedding_layers=False)
    quantize_(model.model, Int8WeightOnlyConfig())
    Adapters(model, [AdapterFile(name="head", path=str(tmp_path / "head"), identity="0")], 2)
    assert all(map(is_quantized, linears_to_quantize(model)))


def test_how_an_adapter_began_leaves_the_model_alone(
    chaotic: Any, folders: list[Path], files: list[AdapterFile], ids: torch.Tensor
) -> None:
    plain = chaotic(ids).logits
    path = folders[1] / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"init_lora_weights": "pissa"}))
    Adapters(chaotic, files, layers=2)
    assert torch.equal(chaotic(ids).logits, plain)


def test_a_model_with_its_weights_the_other_way_round(tmp_path: Path, ids: torch.Tensor) -> None:
    torch.manual_seed(3)
    config = GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3)
    model = GPT2LMHeadModel(config).double().eval()
    model.save_pretrained(tmp_path / "model")
    lora = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    adapted = get_peft_model(copy.deepcopy(model), lora, autocast_adapter_dtype=False)
    adapted.save_pretrained(tmp_path / "adapter")
    ref = ModelRef(path=str(tmp_path / "model"), name="m", task="causal-lm", fingerprint="0" * 64)
    files = read_adapters([str(tmp_path / "adapter")], ref)
    adapters = Adapters(model, files, count_layers(model))
    adapters.use([0])
    torch.testing.assert_close(model(ids).logits, adapted(ids).logits)


def test_layers_that_are_kept_elsewhere_are_refused(
    chaotic: Any, files: list[AdapterFile]
) -> None:
    chaotic.model.layers[0].self_attn.q_proj.weight.offloaded = True
    with pytest.raises(Unsupported, match="beside layers that are kept elsewhere"):
        Adapters(chaotic, files, layers=2)


def test_a_model_without_one_of_its_layers_is_refused(
    chaotic: Any, files: list[AdapterFile]
) -> None:
    chaotic.model.layers = chaotic.model.layers[:1]
    chaotic.config.num_hidden_layers = 1
    with pytest.raises(Unsupported, match="are for 2 layers, and this recipe's model has 1"):
        Adapters(chaotic, files, layers=2)


def test_a_model_of_another_shape_is_refused(chaotic: Any, files: list[AdapterFile]) -> None:
    for layer in chaotic.model.layers:
        layer.self_attn.v_proj = torch.nn.Linear(32, 8, bias=False)
    with pytest.raises(
        Unsupported, match=r"adapter_0 does not fit .* has made it: .* size mismatch"
    ):
        Adapters(chaotic, files, layers=2)


def test_an_adapter_for_what_is_not_there_is_refused(
    chaotic: Any, files: list[AdapterFile]
) -> None:
    saved = Path(files[1].path) / "adapter_model.safetensors"
    weights = load_file(saved)
    save_file({name.replace(".1.", ".7."): weight for name, weight in weights.items()}, saved)
    with pytest.raises(Unsupported, match=r"adapter_1 does not fit .*: there is no match for"):
        Adapters(chaotic, files, layers=2)


def test_an_adapter_that_is_elsewhere(chaotic: Any, files: list[AdapterFile]) -> None:
    (Path(files[0].path) / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"there is no .*adapter_model\.safetensors on this"):
        Adapters(chaotic, files, layers=2)


class Late(Plugin):
    """Compiles."""

    name = "late"
    params = {"on": Choice(False, True, default=False, stage=Stage.SETUP, help="Whether.")}
    phase = Phase.COMPILE


def test_what_cannot_change_adapters_is_refused_before_anything_is_loaded() -> None:
    require_adaptable({}, Processes())
    with pytest.raises(Unsupported, match="one process that holds the whole model"):
        require_adaptable({}, Processes(count=2))
    with pytest.raises(Unsupported, match="'late' compiles one model"):
        require_adaptable({"late": Late()}, Processes())
