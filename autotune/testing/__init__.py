"""Contract tests, fakes and a scaffold for authors of plugins; needs no pytest, no torch.

Subclass a contract in a test module, under a name that begins with ``Test``::

    class TestQuantize(PluginContract):
        plugin = Quantize
"""

from autotune.testing.executors import ExecutorContract
from autotune.testing.fakes import LLAMA, FakePruning, fake_device, fake_result, fake_spec
from autotune.testing.plugins import PluginContract, broken_rules

__all__ = [
    "LLAMA",
    "ExecutorContract",
    "FakePruning",
    "PluginContract",
    "broken_rules",
    "fake_device",
    "fake_result",
    "fake_spec",
]
