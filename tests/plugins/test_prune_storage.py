"""Pruned linears that store no zeros: right outputs, fewer bytes, and training in between."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from autotune.bench.meters.memory import weights_bytes, weights_disk_bytes
from autotune.device import Device
from autotune.params import Scalar
from autotune.plugin import Context, Unsupported
from autotune.recipe import complete
from autotune_plugins._sparse import stored_densely
from autotune_plugins.distill import Distill
from autotune_plugins.prune import Prune

ContextOf = Callable[..., Context]
OutputOf = Callable[..., torch.Tensor]

STORED = [("csr", 0.8), ("bitmask", 0.1), ("bitmask", 0.5), ("bitmask", 0.9)]


def params(storage: str, ratio: float, method: str = "magnitude") -> dict[str, Scalar]:
    given: dict[str, Scalar] = {} if method == "wanda_2_4" else {"ratio": ratio}
    return complete(Prune(), {"method": method, "storage": storage, **given})


def stored(model: Any, context: Context, storage: str, ratio: float) -> Any:
    return Prune().transform(model, params(storage, ratio), context)


@pytest.mark.parametrize(("storage", "ratio"), STORED)
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_gives_the_outputs_of_the_dense_zeros_in_the_bytes_that_are_estimated(
    storage: str,
    ratio: float,
    kind: str,
    request: pytest.FixtureRequest,
    context_of: ContextOf,
    output_of: OutputOf,
    tokens: torch.Tensor,
) -> None:
    model = request.getfixturevalue(kind)
    before, config = weights_bytes(model), model.config.to_dict()
    context, dense = context_of(model), copy.deepcopy(model)
    stored(dense, context, "dense", ratio)
    stored(model, context, storage, ratio)
    torch.testing.assert_close(
        output_of(model, tokens), output_of(dense, tokens), rtol=1e-4, atol=1e-5
    )
    factor = weights_bytes(model) / before
    stated = Prune().estimate(params(storage, ratio), config).weights_bytes
    assert factor == pytest.approx(stated, rel=0.1)
    assert factor < 1
    assert weights_disk_bytes(model) == pytest.approx(weights_bytes(model), rel=0.05)


@pytest.mark.parametrize("storage", ["csr", "bitmask"])
def test_decoding_a_single_token_works(
    storage: str, llama: Any, context_of: ContextOf, output_of: OutputOf
) -> None:
    dense = copy.deepcopy(llama)
    stored(dense, context_of(llama), "dense", 0.8)
    stored(llama, context_of(llama), storage, 0.8)
    ids = torch.tensor([[7]])
    torch.testing.assert_close(output_of(llama, ids), output_of(dense, ids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("storage", "ratio"), STORED)
def test_is_dense_inside_and_as_before_outside(
    storage: str, ratio: float, llama: Any, context_of: ContextOf
) -> None:
    dense = copy.deepcopy(llama)
    stored(dense, context_of(llama), "dense", ratio)
    stored(llama, context_of(llama), storage, ratio)
    state = {name: tensor.clone() for name, tensor in llama.state_dict().items()}
    with stored_densely(llama):
        inside = llama.state_dict()
        assert inside.keys() == dense.state_dict().keys()
        assert all(torch.equal(inside[n], w) for n, w in dense.state_dict().items())
    after = llama.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("storage", ["csr", "bitmask"])
def test_is_trained_and_stays_sparse(
    storage: str,
    make_llama: Callable[..., Any],
    context_of: ContextOf,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second process takes the weights that the first one has kept."""
    from autotune_plugins import _teaching_text

    monkeypatch.setattr(_teaching_text, "_FEWEST_TOKENS", 12)
    original = make_llama(initializer_range=0.1)
    artifact = tmp_path / "kept.safetensors"
    context = context_of(original, teacher=lambda: copy.deepcopy(original), artifact=artifact)
    training = complete(Distill(), {"train": "full"}) | {"steps": 4}
    states = []
    for _ in range(2):
        model = copy.deepcopy(original)
        stored(model, context, storage, 0.8)
        untrained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        Distill().transform(model, training, context)
        states.append(model.state_dict())
        assert states[-1].keys() == untrained.keys()
        values = "model.layers.0.mlp.up_proj.values"
        assert not torch.equal(states[-1][values], untrained[values]), context.notes
        indices = values.replace("values", "columns" if storage == "csr" else "mask")
        assert torch.equal(states[-1][indices], untrained[indices])
    assert "kept from an earlier training" in context.notes[-1]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_csr_of_bfloat16_has_no_kernel_on_a_cpu(llama: Any, context_of: ContextOf) -> None:
    model = llama.to(torch.bfloat16)
    with pytest.raises(Unsupported, match="float32 weights only"):
        stored(model, context_of(model), "csr", 0.9)
    stored(model, context_of(model), "bitmask", 0.9)


def test_what_would_not_be_smaller_is_refused(
    llama: Any, context_of: ContextOf, cpu: Device
) -> None:
    config = llama.config.to_dict() | {"dtype": "float32"}
    with pytest.raises(Unsupported, match=r"csr takes as many bytes as dense.*50%"):
        Prune().check(params("csr", 0.5), config, cpu)
    Prune().check(params("csr", 0.6), config, cpu)
    with pytest.raises(Unsupported, match="csr takes as many bytes"):
        Prune().check(params("csr", 0.6), config | {"dtype": "bfloat16"}, cpu)
    Prune().check(params("bitmask", 0.1), config | {"dtype": "bfloat16"}, cpu)
    with pytest.raises(Unsupported, match="no linear layer in fewer bytes"):
        stored(llama, context_of(llama), "csr", 0.3)


def test_two_of_four_needs_its_pattern_and_a_gpu(
    cpu: Device, old_gpu: Device, new_gpu: Device, llama: Any, context_of: ContextOf
) -> None:
    config = {"dtype": "bfloat16"}
    pattern = params("semi_structured", 0, "wanda_2_4")
    for device in (cpu, old_gpu):
        with pytest.raises(Unsupported, match=r"compute capability 8\.0"):
            Prune().check(pattern, config, device)
    Prune().check(pattern, config, new_gpu)
    with pytest.raises(Unsupported, match="two of every four"):
        Prune().check(params("semi_structured", 0.5), config, new_gpu)
    with pytest.raises(Unsupported, match=r"torch cannot store these weights as 2:4: .*cpu"):
        Prune().transform(llama, pattern, context_of(llama))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_two_of_four_on_a_gpu(
    make_llama: Callable[..., Any], context_of: ContextOf, new_gpu: Device, output_of: OutputOf
) -> None:
    model = make_llama(hidden_size=128, head_dim=32).to("cuda", torch.bfloat16)
    dense = copy.deepcopy(model)
    context, before = context_of(model, new_gpu), weights_bytes(model)
    plain = params("dense", 0, "wanda_2_4")
    Prune().transform(dense, plain, context)
    Prune().transform(model, plain | {"storage": "semi_structured"}, context)
    ids = torch.randint(3, 256, (2, 32), device="cuda")
    torch.testing.assert_close(output_of(model, ids), output_of(dense, ids), rtol=0.05, atol=0.05)
    stated = Prune().estimate(plain | {"storage": "semi_structured"}, model.config.to_dict())
    assert weights_bytes(model) / before == pytest.approx(stated.weights_bytes, rel=0.1)
