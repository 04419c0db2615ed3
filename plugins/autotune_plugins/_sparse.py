"""Linears that store no zeros; no plugin.

They are plain ``torch.nn.Module`` with a forward of their own: a class would need torch when this
file is imported. Their tensors are plain too, so that they are counted and saved like any.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MethodType
from typing import TYPE_CHECKING, Any, cast

from autotune.plugin import Unsupported
from autotune_plugins._layers import stacked_linears

if TYPE_CHECKING:
    from torch import Tensor, nn

_FORMAT = "sparse_format"
"""The attribute by which our modules are known."""

_POWERS = (1, 2, 4, 8, 16, 32, 64, 128)


def stored_share(storage: str, zeros: float, weight_bytes: float) -> float:
    """Bytes of a stored matrix over those of a dense one, without the row pointers of csr.

    Args:
        storage: ``csr`` (a column number of 4 bytes for each weight), ``bitmask`` (a bit for each
            place) or ``semi_structured`` (2 bits for each weight that stays).
        zeros: Share of the weights that are zero.
        weight_bytes: Of one weight.
    """
    index = {"csr": (1 - zeros) * 4, "bitmask": 1 / 8, "semi_structured": 1 / 8}[storage]
    return 1 - zeros + index / weight_bytes


def store_sparsely(model: Any, storage: str) -> None:
    """Stores the linears that have zeros without them.

    Args:
        model: Changed in place.
        storage: See ``stored_share``.

    Raises:
        Unsupported: No linear becomes smaller so, or there is no kernel for its format.
    """
    linears = stacked_linears(model)
    smaller = [linear for linear in linears if _gains(linear, storage)]
    if not smaller:
        raise Unsupported(f"{storage} would store no linear layer in fewer bytes than dense")
    _replace(model, {linear: _pack(linear, storage) for linear in smaller})


@contextmanager
def stored_densely(model: Any) -> Iterator[None]:
    """Inside, what was stored sparsely is plain linears, which can be trained."""
    stored = {m: m.__dict__[_FORMAT] for m in model.modules() if _FORMAT in m.__dict__}
    dense = {module: _unpack(module, storage) for module, storage in stored.items()}
    _replace(model, dense)
    try:
        yield
    finally:
        packed = {linear: _pack(linear, stored[module]) for module, linear in dense.items()}
        _replace(model, packed)


def _gains(linear: nn.Linear, storage: str) -> bool:
    weight = linear.weight
    zeros = float((weight == 0).float().mean())
    rows = 4 / weight.element_size() / linear.in_features if storage == "csr" else 0.0
    return stored_share(storage, zeros, weight.element_size()) + rows < 1


def _replace(model: Any, modules: Mapping[Any, nn.Module]) -> None:
    names = {module: name for name, module in model.named_modules() if module in modules}
    for old, new in modules.items():
        if new is not old:
            model.set_submodule(names[old], new)


def _pack(linear: nn.Linear, storage: str) -> nn.Module:
    pack: dict[str, Callable[[nn.Linear], nn.Module]] = {
        "csr": _pack_csr,
        "bitmask": _pack_bitmask,
        "semi_structured": _pack_semi_structured,
    }
    packed = pack[storage](linear)
    packed.__dict__[_FORMAT] = storage
    return packed.train(linear.training)


def _pack_csr(linear: nn.Linear) -> Any:
    import torch

    weight = linear.weight.detach()
    if weight.device.type == "cpu" and weight.dtype != torch.float32:
        raise Unsupported("on a CPU csr multiplies float32 weights only: leave precision off")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        sparse = weight.to_sparse_csr()
    module = _blank(linear, sparse.values(), _forward_csr)
    module.register_buffer("rows", sparse.crow_indices().int())
    module.register_buffer("columns", sparse.col_indices().int())
    return module


def _forward_csr(module: Any, inputs: Tensor) -> Tensor:
    # The sparse matrix to the left: the other way round is several times slower.
    product: Tensor = (_csr(module) @ inputs.reshape(-1, module.in_features).T).T
    product = product.reshape(*inputs.shape[:-1], module.out_features)
    return product if module.bias is None else product + module.bias


def _csr(module: Any) -> Tensor:
    import torch

    shape = (module.out_features, module.in_features)
    parts = (module.rows, module.columns, module.values)
    return torch.sparse_csr_tensor(*parts, shape, check_invariants=False)


def _pack_bitmask(linear: nn.Linear) -> Any:
    import torch

    weight = linear.weight.detach()
    nonzero = (weight != 0).flatten()
    module = _blank(linear, weight.flatten()[nonzero], _forward_bitmask)
    bits = torch.nn.functional.pad(nonzero, (0, -len(nonzero) % 8)).view(-1, 8)
    powers = torch.tensor(_POWERS, dtype=torch.uint8, device=bits.device)
    module.register_buffer("mask", (bits * powers).sum(-1, dtype=torch.uint8))
    module.register_buffer("powers", powers, persistent=False)
    return module


def _forward_bitmask(module: Any, inputs: Tensor) -> Tensor:
    from torch.nn.functional import linear

    return linear(inputs, _dense_of_bitmask(module), module.bias)


def _dense_of_bitmask(module: Any) -> Tensor:
    import torch

    shape = (module.out_features, module.in_features)
    bits = (module.mask[:, None] & module.powers).bool().flatten()
    nonzero = bits[: shape[0] * shape[1]].view(shape)
    empty = torch.zeros(shape, dtype=module.values.dtype, device=module.values.device)
    return empty.masked_scatter(nonzero, module.values)


def _pack_semi_structured(linear: nn.Linear) -> nn.Module:
    """Kept as a linear: torch has kernels for the weight itself."""
    import torch

    try:
        weight = torch.sparse.to_sparse_semi_structured(linear.weight.detach().contiguous())
    except RuntimeError as error:
        raise Unsupported(f"torch cannot store these weights as 2:4: {error}") from error
    _set_weight(linear, weight)
    return linear


def _blank(linear: nn.Linear, values: Tensor, forward: Any) -> Any:
    """A module of the linear's size with these values and its bias."""
    from torch import nn

    module: Any = nn.Module()
    module.in_features, module.out_features = linear.in_features, linear.out_features
    module.values = nn.Parameter(values.clone(), requires_grad=False)
    module.bias = linear.bias
    module.forward = MethodType(forward, module)
    return module


def _unpack(module: Any, storage: str) -> nn.Linear:
    from torch import nn

    if storage == "semi_structured":
        _set_weight(module, module.weight.to_dense())
        return cast("nn.Linear", module)
    weight = _csr(module).to_dense() if storage == "csr" else _dense_of_bitmask(module)
    linear = nn.Linear(module.in_features, module.out_features, device="meta")
    _set_weight(linear, weight)
    linear.bias = module.bias
    return linear.train(module.training)


def _set_weight(linear: nn.Linear, weight: Tensor) -> None:
    from torch import nn

    linear.weight = nn.Parameter(weight, requires_grad=False)
