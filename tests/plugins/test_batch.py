from __future__ import annotations

from autotune_plugins.batch import Batch


def test_sizes_double_up_to_64() -> None:
    assert Batch.params["size"].values() == (1, 2, 4, 8, 16, 32, 64)


def test_size_becomes_the_batch_size_of_the_run() -> None:
    assert Batch().run_args({"size": 8}) == {"batch_size": 8}
