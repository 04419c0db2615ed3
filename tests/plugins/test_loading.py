from __future__ import annotations

import pytest

from autotune.device import Device
from autotune.plugin import Unsupported
from autotune_plugins.loading import Loading


def test_what_it_asks_of_whoever_loads() -> None:
    assert Loading().load_args({"weights": "mapped"}) == {"mapped_weights": True}
    assert Loading().load_args({"weights": "copied", "workers": 8}) == {"load_threads": 8}


def test_mapped_weights_are_for_cpus(cpu: Device, new_gpu: Device) -> None:
    Loading().check({"weights": "mapped"}, {}, cpu)
    Loading().check({"weights": "copied", "workers": 8}, {}, new_gpu)
    with pytest.raises(Unsupported, match="stay in the host's memory; this is a GPU"):
        Loading().check({"weights": "mapped"}, {}, new_gpu)
