"""The Muon optimizer with its orthogonalisation in float32."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

# torch.optim.Muon iterates in bfloat16, which a CPU without bfloat16 units emulates 30 times
# slower than float32. Remove this module when it takes the dtype as an argument.

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum whose update is the nearest orthogonal matrix (Jordan et al., 2024)."""

    def __init__(
        self,
        parameters: Iterable[torch.Tensor],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                self._update(weight, group)

    def _update(self, weight: torch.Tensor, group: dict[str, Any]) -> None:
        if weight.grad is None:
            return
        state = self.state[weight]
        average = state.setdefault("average", torch.zeros_like(weight))
        average.lerp_(weight.grad, 1 - group["momentum"])
        update = orthogonalise(weight.grad.lerp(average, group["momentum"]))
        stretch = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(update, alpha=-group["lr"] * stretch)


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """Pushes every singular value of a matrix towards 1 by Newton-Schulz iteration.

    Args:
        matrix: Shape (rows, columns), float32.

    Returns:
        Of the same shape, singular values roughly in 0.7 to 1.2.
    """
    linear, cubic, quintic = _COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(
            x, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear
        )
    return x.T if is_tall else x
