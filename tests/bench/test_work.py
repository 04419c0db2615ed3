"""Operations and bytes of known models against the formula by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from autotune.bench.engines.torch_engine import TorchEncoder, TorchGenerator
from autotune.bench.meters.memory import weights_bytes
from autotune.bench.meters.work import Work, count_work
from autotune.device import Device
from autotune.engine import Passes
from autotune.plugin import Context
from autotune.recipe import complete
from autotune.testing import fake_device
from autotune_plugins.prune import Prune
from autotune_plugins.quantize import Quantize

Windows = dict[str, torch.Tensor]
TOKENS, NEW, VOCABULARY, HIDDEN = 16, 5, 97, 32


def counted(model: Any, windows: Windows) -> Work:
    first = {name: tensor[:1] for name, tensor in windows.items()}
    found = count_work(model, TorchGenerator(model, NEW).passes(first))
    assert found is not None
    return found


def context(model: Any, device: Device) -> Context:
    text = {"input_ids": torch.randint(3, VOCABULARY, (4, 16))}
    text["attention_mask"] = torch.ones_like(text["input_ids"])
    config = model.config.to_dict()
    return Context(device=device, model_config=config, calibration=[text], seed=0)


def by_hand(config: Any, queries: int, held: float) -> float:
    """Operations of a Llama's pass over so many new tokens that see ``held`` tokens each."""
    size = config.head_dim
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    projections = 2 * HIDDEN * size * (heads + groups)
    weights = projections + 3 * HIDDEN * config.intermediate_size
    attention = 2 * held * size * heads
    per_token = config.num_hidden_layers * (weights + attention)
    return 2 * (queries * per_token + HIDDEN * VOCABULARY)  # the head: the last position only


@pytest.mark.parametrize("kernel", ["sdpa", "eager", "flex_attention"])
def test_llama_counts_as_by_hand(llama: Any, windows: Windows, kernel: str) -> None:
    llama.set_attn_implementation(kernel)
    work = counted(llama, windows)
    assert work.prompt_flops == by_hand(llama.config, TOKENS, TOKENS)
    # Four steps see 17, 18, 19 and 20 tokens.
    assert work.step_flops == by_hand(llama.config, 1, 18.5)
    assert work.cache_bytes == 18.5 * 2 * 2 * 2 * 8 * 4  # keys and values, layers, groups, size
    assert (work.matmul_format, work.row_bytes) == ("float32", 0), "the table is the head, too"
    assert work.weights_bytes == weights_bytes(llama)
    assert llama.config._attn_implementation == kernel


def test_counting_leaves_nothing_behind(llama: Any, windows: Windows) -> None:
    before = counted(llama, windows)
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in llama.modules()]
    assert not any(hooks)
    assert counted(llama, windows) == before


def test_work_of_a_request_grows_with_its_sequences(llama: Any, windows: Windows) -> None:
    work = counted(llama, windows)
    one, four = work.metrics(1, TOKENS), work.metrics(4, TOKENS)
    for name in ("prompt_flops", "decode_step_flops"):
        assert four[name].value == 4 * (one[name].value or 0)
    assert four["prompt_bytes"] == one["prompt_bytes"], "weights are read once"
    grown = (four["decode_step_bytes"].value or 0) - (one["decode_step_bytes"].value or 0)
    assert grown == 3 * work.cache_bytes


def test_embedding_of_its_own_is_read_by_rows(llama: Any, windows: Windows) -> None:
    llama.lm_head.weight = torch.nn.Parameter(llama.lm_head.weight.clone())
    work = counted(llama, windows)
    table = VOCABULARY * HIDDEN * 4
    assert work.weights_bytes == weights_bytes(llama) - table
    assert work.row_bytes == HIDDEN * 4
    read = work.metrics(2, TOKENS)["prompt_bytes"].value
    assert read == work.weights_bytes + 2 * TOKENS * HIDDEN * 4


@pytest.mark.parametrize(
    ("scheme", "form"), [("int8_weight_only", "float32"), ("int8_dynamic", "int8")]
)
def test_quantized_llama_does_the_same_work_on_fewer_bytes(
    llama: Any, windows: Windows, scheme: str, form: str
) -> None:
    before = counted(llama, windows)
    Quantize().transform(llama, {"scheme": scheme}, context(llama, fake_device()))
    after = counted(llama, windows)
    assert (after.prompt_flops, after.step_flops) == (before.prompt_flops, before.step_flops)
    assert after.weights_bytes == weights_bytes(llama) < 0.6 * before.weights_bytes
    assert after.matmul_format == form


def test_int4_llama_counts_though_its_kernel_has_no_formula(llama: Any, windows: Windows) -> None:
    llama = llama.to(torch.bfloat16)
    before = counted(llama, windows)
    params = {"scheme": "int4_weight_only", "group_size": 32}
    Quantize().transform(llama, params, context(llama, fake_device()))
    after = counted(llama, windows)
    assert after.prompt_flops == before.prompt_flops
    assert after.weights_bytes < 0.6 * before.weights_bytes
    assert after.matmul_format == "bfloat16"


@pytest.mark.parametrize("method", ["structured", "depth"])
def test_pruned_llama_counts_as_what_is_left_of_it(
    llama: Any, windows: Windows, method: str
) -> None:
    before = counted(llama, windows)
    params = complete(Prune(), {"method": method, "ratio": 0.5})
    pruned = Prune().transform(llama, params, context(llama, fake_device()))
    after = counted(pruned, windows)
    assert after.prompt_flops == by_hand(pruned.config, TOKENS, TOKENS) < before.prompt_flops
    assert after.weights_bytes < before.weights_bytes
    assert after.cache_bytes <= before.cache_bytes


def test_one_new_token_has_no_step(llama: Any, windows: Windows) -> None:
    work = count_work(llama, TorchGenerator(llama, 1).passes(windows))
    assert work is not None
    assert (work.step_flops, work.cache_bytes) == (None, 0)
    assert work.metrics(1, TOKENS).keys() == {"prompt_flops", "prompt_bytes"}


def test_encoder_counts_its_one_pass(windows: Windows) -> None:
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    model = BertModel(config, add_pooling_layer=False).eval().requires_grad_(False)
    first = {name: tensor[:1] for name, tensor in windows.items()}
    work = count_work(model, TorchEncoder(model, "feature-extraction").passes(first))
    assert work is not None
    per_token = 4 * HIDDEN**2 + 2 * HIDDEN * 64 + 2 * TOKENS * HIDDEN
    assert work.prompt_flops == 2 * 2 * TOKENS * per_token
    assert work.step_flops is None
    assert work.row_bytes == 3 * HIDDEN * 4, "words, positions and kinds"


@pytest.mark.parametrize("make", [lambda llama: object(), lambda llama: llama])
def test_what_torch_does_not_run_is_not_counted(llama: Any, make: Callable[[Any], Any]) -> None:
    assert count_work(make(llama), None) is None
    assert count_work(make(llama), Passes(prompt=lambda: None)) is None
