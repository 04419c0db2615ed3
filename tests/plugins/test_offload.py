from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.bench.loading import cached_bytes
from autotune.bench.meters.memory import weights_bytes, weights_disk_bytes
from autotune.device import Device
from autotune.plugin import Unsupported
from autotune_plugins import _offloading
from autotune_plugins.offload import Offload

Run = Callable[[Any, torch.Tensor], torch.Tensor]
DISK = {"where": "disk", "prefetch_layers": 1, "resident": 0.0}
LAYERS = 4


@pytest.fixture
def mapped(make_llama: Callable[..., Any], tmp_path: Path) -> Callable[[], Any]:
    """Loads a model of about 20 MiB whose weights are views of its file."""
    made = make_llama(hidden_size=256, intermediate_size=1024, num_hidden_layers=LAYERS)
    made.save_pretrained(tmp_path)
    return lambda: type(made).from_pretrained(tmp_path).eval().requires_grad_(False)


def resident_bytes(folder: Path) -> int:
    """Of the mapped checkpoint, from the kernel."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if not line.split()[0].endswith(":"):
            inside = line.endswith(f"{folder}/model.safetensors")
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


@pytest.mark.parametrize(("ahead", "resident"), [(0, 0.0), (1, 0.0), (2, 0.0), (1, 0.5)])
def test_the_outputs_are_the_same_and_few_layers_are_in_memory(
    mapped: Callable[[], Any],
    tokens: torch.Tensor,
    output_of: Run,
    context_of: Callable[..., Any],
    tmp_path: Path,
    ahead: int,
    resident: float,
) -> None:
    model = mapped()
    layer = sum(p.nbytes for p in model.model.layers[0].parameters())
    expected = output_of(model, tokens)
    context = context_of(model)
    params = DISK | {"prefetch_layers": ahead, "resident": resident}
    model = Offload().transform(model, params, context)
    assert resident_bytes(tmp_path) < layer / 2
    most: list[int] = []
    for one in model.model.layers:
        one.mlp.register_forward_pre_hook(lambda *_: most.append(resident_bytes(tmp_path)))

    for _ in range(2):
        assert torch.equal(output_of(model, tokens), expected)
    assert len(most) == 2 * LAYERS
    assert layer * 0.9 < max(most) < layer * (ahead + 1.2)
    stay = int(LAYERS * resident)
    assert context.notes == [f"offload: {LAYERS - stay} of {LAYERS} layers are brought in"]


def test_pages_leave_the_page_cache_too(
    mapped: Callable[[], Any],
    tokens: torch.Tensor,
    output_of: Run,
    context_of: Callable[..., Any],
    tmp_path: Path,
) -> None:
    file = tmp_path / "model.safetensors"
    with file.open("rb") as stream:
        _offloading.os.fsync(stream.fileno())
    model = mapped()
    output_of(model, tokens)
    if cached_bytes(file) < file.stat().st_size // 2:
        pytest.skip("a file system without a page cache")
    model = Offload().transform(model, DISK | {"prefetch_layers": 0}, context_of(model))
    output_of(model, tokens)
    layers = sum(p.nbytes for p in model.model.layers.parameters())
    assert cached_bytes(file) < file.stat().st_size - 0.9 * layers


def test_offloaded_weights_are_not_in_memory_but_are_saved(
    mapped: Callable[[], Any], context_of: Callable[..., Any]
) -> None:
    model = mapped()
    all_bytes, disk = weights_bytes(model), weights_disk_bytes(model)
    layers = sum(p.nbytes for p in model.model.layers.parameters())
    params = DISK | {"resident": 0.25}
    model = Offload().transform(model, params, context_of(model))
    assert weights_bytes(model) == all_bytes - layers * 3 // 4
    assert weights_disk_bytes(model) == disk
    stated = Offload().estimate(params, model.config.to_dict()).weights_bytes
    assert weights_bytes(model) / all_bytes == pytest.approx(stated, abs=0.02)


def test_weights_that_are_not_in_the_file_are_refused(
    llama: Any, mapped: Callable[[], Any], context_of: Callable[..., Any]
) -> None:
    with pytest.raises(Unsupported, match="no views of the checkpoint"):
        Offload().transform(llama, DISK, context_of(llama))
    changed = mapped()
    changed.model.layers[2].mlp.up_proj.weight.data[0, 0] = 1
    with pytest.raises(Unsupported, match="were changed in memory"):
        Offload().transform(changed, DISK, context_of(changed))


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(Unsupported, match="Linear has no stack of layers"):
        _offloading.find_layers(torch.nn.Linear(2, 2))


class Counted:
    """Weights that write down what is done with them."""

    def __init__(self, number: int, log: list[tuple[str, int]]) -> None:
        self._number, self._log = number, log

    def fetch(self) -> None:
        self._log.append(("fetch", self._number))

    def enter(self) -> None:
        self._log.append(("enter", self._number))

    def leave(self) -> None:
        self._log.append(("leave", self._number))


@pytest.mark.parametrize("ahead", [0, 1, 2, 7])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3), (2,)])
def test_every_layer_is_fetched_once_before_it_runs(ahead: int, order: tuple[int, ...]) -> None:
    """Also where another pass goes through some layers only, as drafts do."""
    log: list[tuple[str, int]] = []
    layers = [torch.nn.Linear(2, 2) for _ in range(4)]
    _offloading.bring_in(layers, [Counted(i, log) for i in range(4)], ahead)
    for passes in ((0, 1, 2, 3), order, (0, 1, 2, 3)):
        for index in passes:
            layers[index](torch.zeros(1, 2))
    here: set[int] = set()
    for what, number in log:
        if what == "fetch":
            assert number not in here
            here.add(number)
        assert number in here, f"{what} of {number} before it was fetched"
        if what == "leave":
            here.remove(number)
    assert len(here) <= min(ahead, 3) + 2  # what is there for the next pass


def test_resident_layers_are_spread() -> None:
    assert _offloading.resident_layers(8, 0.0) == set()
    assert _offloading.resident_layers(8, 0.5) == {1, 3, 5, 7}
    assert _offloading.resident_layers(8, 0.25) == {3, 7}
    assert len(_offloading.resident_layers(10, 0.75)) == 7


def test_each_device_has_its_own(cpu: Device, new_gpu: Device) -> None:
    Offload().check(DISK, {}, cpu)
    Offload().check(DISK | {"where": "cpu"}, {}, new_gpu)
    with pytest.raises(Unsupported, match="where=disk is for models on a CPU; this is a GPU"):
        Offload().check(DISK, {}, new_gpu)
    with pytest.raises(Unsupported, match="where=cpu is for models on a GPU; this is a CPU"):
        Offload().check(DISK | {"where": "cpu"}, {}, cpu)
    with pytest.raises(Unsupported, match=r"resident=0.25 of 2 layers is none"):
        Offload().check(DISK | {"resident": 0.25}, {"num_hidden_layers": 2}, cpu)


def test_how_the_weights_are_loaded() -> None:
    assert Offload().load_args(DISK) == {"mapped_weights": True}
    assert Offload().load_args(DISK | {"where": "cpu"}) == {"device_map": {"": "cpu"}}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_layers_come_from_pinned_memory(
    llama: Any,
    tokens: torch.Tensor,
    output_of: Run,
    context_of: Callable[..., Any],
    new_gpu: Device,
    ahead: int,
) -> None:
    ids = tokens.to("cuda:0")
    expected = output_of(llama.to("cuda:0"), ids)
    llama.to("cpu")
    params = DISK | {"where": "cpu", "prefetch_layers": ahead}
    model = Offload().transform(llama, params, context_of(llama, new_gpu))
    for _ in range(3):
        assert torch.equal(output_of(model, ids), expected)
    assert all(p.device.type == "cpu" for p in model.model.layers.parameters())
    assert model.model.embed_tokens.weight.device.type == "cuda"
