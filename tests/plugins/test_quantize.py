from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from autotune.device import Device
from autotune.plugin import Context, Unsupported
from autotune_plugins._torchao import quiet_torchao
from autotune_plugins.quantize import Quantize

ContextOf = Callable[..., Context]
OutputOf = Callable[..., torch.Tensor]
INT4 = {"scheme": "int4_weight_only", "group_size": 32}


def quantized(model: Any, params: dict[str, Any], context: Context) -> Any:
    from torchao.utils import TorchAOBaseTensor

    Quantize().transform(model, params, context)
    linears = [m for m in model.base_model.modules() if isinstance(m, torch.nn.Linear)]
    return [linear for linear in linears if isinstance(linear.weight, TorchAOBaseTensor)]


def stored_bytes(weight: Any) -> int:
    parts = [getattr(weight, name, None) for name in weight.tensor_data_names]
    return sum(part.nbytes for part in parts if part is not None)


def closeness(left: torch.Tensor, right: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(left, right, dim=-1).min())


@pytest.mark.parametrize("scheme", ["int8_weight_only", "int8_dynamic"])
def test_int8_stores_a_quarter_and_says_almost_the_same(
    scheme: str, llama: Any, context_of: ContextOf, output_of: OutputOf, tokens: torch.Tensor
) -> None:
    before = output_of(llama, tokens)
    bytes_before = llama.model.layers[0].mlp.up_proj.weight.nbytes
    done = quantized(llama, {"scheme": scheme}, context_of(llama))
    assert len(done) == 4 * 7
    assert stored_bytes(llama.model.layers[0].mlp.up_proj.weight) < 0.3 * bytes_before
    assert closeness(output_of(llama, tokens), before) > 0.99


def test_int4_runs_on_a_cpu_in_bfloat16(
    llama: Any, context_of: ContextOf, output_of: OutputOf, tokens: torch.Tensor
) -> None:
    llama = llama.to(torch.bfloat16)
    before = output_of(llama, tokens)
    bytes_before = llama.model.layers[0].mlp.up_proj.weight.nbytes
    done = quantized(llama, INT4, context_of(llama))
    assert len(done) == 4 * 7
    assert stored_bytes(llama.model.layers[0].mlp.up_proj.weight) < 0.35 * bytes_before
    assert closeness(output_of(llama, tokens).float(), before.float()) > 0.9


def test_int4_is_refused_in_float32(llama: Any, context_of: ContextOf) -> None:
    with pytest.raises(Unsupported, match=r"set precision\.dtype=bfloat16"):
        Quantize().transform(llama, INT4, context_of(llama))


def test_int4_skips_what_its_group_does_not_divide_and_says_so(
    llama: Any, context_of: ContextOf
) -> None:
    context = context_of(llama.to(torch.bfloat16))
    done = quantized(llama, INT4 | {"group_size": 128}, context)
    assert [linear.in_features for linear in done] == [128] * 4
    assert "24 of 28 linears stay in bfloat16" in context.notes[0]


def test_int4_is_refused_when_nothing_fits(
    make_llama: Callable[..., Any], context_of: ContextOf
) -> None:
    model = make_llama(intermediate_size=96).to(torch.bfloat16)
    with pytest.raises(Unsupported, match="no linear layer fit for int4_weight_only"):
        Quantize().transform(model, INT4 | {"group_size": 128}, context_of(model))


def test_the_head_and_the_embedding_stay(llama: Any, context_of: ContextOf) -> None:
    quantized(llama, {"scheme": "int8_weight_only"}, context_of(llama))
    assert type(llama.lm_head.weight) is torch.nn.Parameter
    assert type(llama.model.embed_tokens.weight) is torch.nn.Parameter


def test_an_encoder_is_quantized_too(
    bert: Any, context_of: ContextOf, output_of: OutputOf, tokens: torch.Tensor
) -> None:
    assert quantized(bert, {"scheme": "int8_weight_only"}, context_of(bert))
    assert output_of(bert, tokens).isfinite().all()


def test_a_library_that_does_nothing_is_not_believed(
    llama: Any, context_of: ContextOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchao.quantization

    monkeypatch.setattr(torchao.quantization, "quantize_", lambda *arguments: None)
    with pytest.raises(Unsupported, match="left every weight as it was"):
        Quantize().transform(llama, {"scheme": "int8_weight_only"}, context_of(llama))


@pytest.mark.parametrize("scheme", ["float8_weight_only", "float8_dynamic"])
def test_float8_needs_a_new_gpu(
    scheme: str, cpu: Device, old_gpu: Device, new_gpu: Device
) -> None:
    Quantize().check({"scheme": scheme}, {}, new_gpu)
    for device in (cpu, old_gpu):
        with pytest.raises(Unsupported, match=rf"{scheme} needs CUDA compute capability 8\.9"):
            Quantize().check({"scheme": scheme}, {}, device)


def test_int4_is_accepted_on_a_cpu_and_refused_on_an_old_gpu(cpu: Device, old_gpu: Device) -> None:
    Quantize().check(INT4, {}, cpu)
    with pytest.raises(Unsupported, match=r"capability 8\.0"):
        Quantize().check(INT4, {}, old_gpu)


def test_only_the_one_log_line_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("torchao")
    with quiet_torchao():
        logger.warning("Failed to load a library: no such file")
        logger.warning("something else")
    logger.warning("Failed to load later")
    assert caplog.messages == ["something else", "Failed to load later"]


def test_the_estimate_counts_only_linear_layers(llama: Any) -> None:
    config = llama.config.to_dict() | {"dtype": "bfloat16"}
    linear = sum(m.weight.numel() for m in llama.model.modules() if hasattr(m, "in_features"))
    rest = (llama.num_parameters() - linear) / llama.num_parameters()
    for params, narrower in (({"scheme": "int8_dynamic"}, 0.5), (INT4, 5 / 16)):
        estimate = Quantize().estimate(params, config)
        assert estimate.weights_bytes == pytest.approx(rest + (1 - rest) * narrower, rel=0.02)


def test_a_config_without_the_usual_sizes_is_not_estimated() -> None:
    assert Quantize().estimate({"scheme": "int8_dynamic"}, {"n_embd": 64}).weights_bytes == 1.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "params",
    [
        INT4,
        {"scheme": "int8_weight_only"},
        {"scheme": "int8_dynamic"},
        {"scheme": "float8_weight_only"},
        {"scheme": "float8_dynamic"},
    ],
)
def test_every_scheme_runs_on_a_gpu(
    params: dict[str, Any], llama: Any, context_of: ContextOf, tokens: torch.Tensor
) -> None:
    from autotune.device import detect

    device = detect("cuda")
    model = llama.to(device.torch_name, torch.bfloat16)
    Quantize().check(params, model.config.to_dict(), device)
    assert quantized(model, params, context_of(model, device))
    with torch.inference_mode():
        assert model(tokens.to(device.torch_name)).logits.isfinite().all()
