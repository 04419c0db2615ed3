from __future__ import annotations

from typing import Any

import pytest
import torch

from autotune.bench.reload import save_and_reload
from autotune.errors import BenchError


class Forgetful(torch.nn.Linear):
    """Keeps a number that its state dict lacks, and starts again when it is loaded."""

    scale = 3.0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.scale * super().forward(inputs)

    def _load_from_state_dict(self, *given: Any) -> None:
        super()._load_from_state_dict(*given)
        self.scale = 1.0


class Opaque(torch.Tensor):
    """A kind of tensor that nobody has declared safe to read."""


def test_weights_that_come_back_the_same_are_gone_on_with() -> None:
    model = torch.nn.Linear(4, 4)
    weight, ones = model.weight, torch.ones(1, 4)
    save_and_reload(model, lambda: model(ones))
    assert model.weight is not weight
    assert torch.equal(model.weight, weight)


def test_what_the_state_dict_lacks_is_noticed() -> None:
    model = Forgetful(4, 4)
    with pytest.raises(BenchError, match="saved and loaded, its outputs differ by up to"):
        save_and_reload(model, lambda: model(torch.ones(1, 4)))


def test_what_cannot_be_read_as_data_is_refused() -> None:
    model = torch.nn.Linear(4, 4)
    odd = model.weight.detach().as_subclass(Opaque)
    model.weight = torch.nn.Parameter(odd, requires_grad=False)
    with pytest.raises(BenchError, match=r"hold tests\.bench\.\S*Opaque, which"):
        save_and_reload(model, lambda: torch.zeros(1))


def test_other_models_are_left_alone() -> None:
    save_and_reload(object(), lambda: pytest.fail("asked"))


def test_weights_that_are_elsewhere_stay_there() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    stays, moves = model[0].weight, model[1].weight
    stays.offloaded = True
    save_and_reload(model, lambda: model(torch.ones(1, 4)))
    assert model[0].weight is stays
    assert model[1].weight is not moves
