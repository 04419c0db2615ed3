"""Layers of a model on a GPU whose weights are in the host's pinned memory; no plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotune.plugin import Unsupported

if TYPE_CHECKING:
    import torch
    from torch import nn


def offload_to_host(model: Any, layers: Sequence[nn.Module], device: str) -> list[PinnedWeights]:
    """Pins these layers' weights in the host's memory and moves all else to the GPU.

    Args:
        model: Loaded into the host's memory.
        layers: Those that are to be brought in.
        device: Where it computes, ``cuda:0``.

    Raises:
        Unsupported: A layer has weights that are stored otherwise than in plain tensors.
    """
    import torch

    away = {parameter for layer in layers for parameter in layer.parameters()}
    if any(type(parameter.data) is not torch.Tensor for parameter in away):
        raise Unsupported("weights that are not plain tensors cannot be offloaded")
    for parameter in model.parameters():
        if parameter not in away:
            parameter.data = parameter.data.to(device)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return [PinnedWeights(list(layer.parameters()), stream, device) for layer in layers]


class PinnedWeights:
    """A layer's weights in pinned memory; a stream of its own copies them to the GPU while the
    layers before compute (torch's notes on CUDA semantics, "Use pinned memory buffers")."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], stream: torch.cuda.Stream, device: str
    ) -> None:
        self._parameters = parameters
        self._stream = stream
        self._device = device
        self._host = [parameter.data.pin_memory() for parameter in parameters]
        self._copies: list[torch.Tensor] = []
        for parameter, host in zip(parameters, self._host, strict=True):
            parameter.data = host
            parameter.offloaded = True  # type: ignore[attr-defined]

    def fetch(self) -> None:
        """Queues the copies; ``enter`` has the layer wait for them."""
        import torch

        # Parameters take no tensor that was made for inference only.
        with torch.inference_mode(False), torch.no_grad(), torch.cuda.stream(self._stream):
            self._copies = [host.to(self._device, non_blocking=True) for host in self._host]

    def enter(self) -> None:
        """The parameters are the copies, for what is queued from here on."""
        import torch

        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for parameter, copy in zip(self._parameters, self._copies, strict=True):
            copy.record_stream(current)  # their memory is not used again before it is done
            parameter.data = copy

    def leave(self) -> None:
        """The parameters are the host's again; the copies' memory is free once they were used."""
        for parameter, host in zip(self._parameters, self._host, strict=True):
            parameter.data = host
        self._copies = []
