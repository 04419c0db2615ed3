"""Bad plugins are refused at the door, naming plugin and distribution."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from autotune import registry
from autotune.errors import InputError, PluginError
from autotune.params import Choice, Float, Int, Stage
from autotune.plugin import Plugin
from autotune.registry import Registry, checked, installed

SOURCE = "bad-plugins 1.2"
GOOD = {"level": Choice(0, 1, default=0, stage=Stage.RUN)}


def make(**attributes: Any) -> type[Plugin]:
    """A plugin class; good but for the given attributes."""
    good = {"__doc__": "Does something.", "name": "sample", "params": GOOD}
    return type("Sample", (Plugin,), good | attributes)


def test_checked_accepts_a_good_plugin() -> None:
    assert checked(make(), SOURCE).name == "sample"


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"name": "Sample"}, "its name is 'Sample'; expected lower case"),
        ({"name": "a-b"}, "its name is 'a-b'"),
        ({"name": ""}, "its name is ''"),
        ({"name": 5}, "its name is 5"),
        ({"__doc__": None}, "it has no docstring"),
        ({"__doc__": "   "}, "it has no docstring"),
        ({"phase": "weights!"}, "its phase is 'weights!'; expected one of structure"),
        ({"params": {}}, "it declares no params"),
        ({"params": None}, "it declares no params"),
        ({"params": {"level": 3}}, "param 'level' is 3; expected Choice, Int or Float"),
        (
            {"params": {"level": Choice(1, 2, default=3, stage=Stage.RUN)}},
            "the default 3 of 'level' is not allowed (1, 2)",
        ),
        (
            {"params": {"level": Int(1, 4, default=9, stage=Stage.RUN)}},
            "the default 9 of 'level' is not allowed",
        ),
        (
            {"params": {"level": Int(4, 1, default=4, stage=Stage.RUN)}},
            "param 'level' has no values",
        ),
        (
            {"params": {"level": Float(0, 1, default=0, step=0, stage=Stage.RUN)}},
            "param 'level' has no values",
        ),
        (
            {"params": {"level": Choice(default=1, stage=Stage.RUN)}},
            "param 'level' has no values",
        ),
        (
            {"params": {"level": Choice("a", b"b", default="a", stage=Stage.RUN)}},  # type: ignore[arg-type]
            "param 'level' has values that are not JSON scalars",
        ),
        (
            {"params": {"level": Choice("a", None, default="a", stage=Stage.RUN)}},  # type: ignore[arg-type]
            "param 'level' has values that are not JSON scalars",
        ),
        (
            {"params": {"level": Choice(0.0, float("nan"), default=0.0, stage=Stage.RUN)}},
            "param 'level' has values that are not JSON scalars",
        ),
        (
            {"params": {"level": Choice("a", default="a", stage=Stage.RUN, when={"x": 1})}},
            "'level' depends on 'x', which is no earlier param",
        ),
        (
            {"params": {"level": Choice(0, 1, default=0, stage="run")}},  # type: ignore[arg-type]
            "the stage of 'level' is 'run'; expected Stage.MODEL, SETUP or RUN",
        ),
        (
            {"params": {"a.b": Choice(0, 1, default=0, stage=Stage.RUN)}},
            "param 'a.b' is no name; expected lower case",
        ),
        (
            {"params": {3: Choice(0, 1, default=0, stage=Stage.RUN)}},
            "param 3 is no name; expected lower case",
        ),
        ({"conflicts": "prune"}, "its conflicts is 'prune'; expected a tuple of plugin names"),
        ({"requires": {"gpus": 1}}, "its requires is {'gpus': 1}; expected Requires(...)"),
        (
            {
                "params": {
                    **GOOD,
                    "more": Choice(0, 1, default=0, stage=Stage.RUN, when={"level": 2}),
                }
            },
            "'more' depends on 'level' being 2, which it can never be",
        ),
        (
            {
                "params": {
                    **GOOD,
                    "more": Choice(0, 1, default=0, stage=Stage.RUN, when={"level": (1, True)}),
                }
            },
            "'more' depends on 'level' being True, which it can never be",
        ),
        (
            {"params": {"level": Int(0, 4, default=0, step=0, stage=Stage.RUN)}},
            "param 'level' has no values (",
        ),
        (
            {"params": {"level": Float(0, float("inf"), default=0, step=1, stage=Stage.RUN)}},
            "param 'level' has no values (",
        ),
    ],
)
def test_checked_refuses(attributes: dict[str, Any], problem: str) -> None:
    with pytest.raises(PluginError) as caught:
        checked(make(**attributes), SOURCE)
    name = attributes.get("name", "sample")
    assert f"plugin {name!r} of {SOURCE} was refused: {problem}" in str(caught.value)


def test_checked_refuses_a_constructor_that_needs_arguments() -> None:
    def needy(self: Plugin, level: int) -> None: ...

    with pytest.raises(PluginError) as caught:
        checked(make(__init__=needy), SOURCE)
    words = f"plugin 'sample' of {SOURCE} cannot be built without arguments: TypeError: "
    assert str(caught.value).startswith(words)


def test_checked_refuses_a_condition_on_a_later_param() -> None:
    params = {
        "early": Choice(0, 1, default=0, stage=Stage.RUN, when={"late": 1}),
        "late": Choice(0, 1, default=0, stage=Stage.RUN),
    }
    with pytest.raises(PluginError, match="'early' depends on 'late'"):
        checked(make(params=params), SOURCE)


def test_checked_names_every_problem() -> None:
    with pytest.raises(
        PluginError, match=r"its name is 'X'.*; it has no docstring.*; it declares"
    ):
        checked(make(name="X", __doc__="", params={}), SOURCE)


def test_checked_refuses_a_class_without_declarations() -> None:
    class Empty(Plugin):
        pass

    with pytest.raises(PluginError, match=r"plugin 'Empty' of bad-plugins 1\.2 was refused"):
        checked(Empty, SOURCE)


@pytest.mark.parametrize("offered", [int, "sample", None, make()()])
def test_checked_refuses_what_is_no_plugin_class(offered: object) -> None:
    with pytest.raises(PluginError, match=r"of bad-plugins 1.2 is not a subclass of autotune\."):
        checked(offered, SOURCE)


class Entry:
    """An entry point of a distribution that is not installed."""

    def __init__(self, module: Any, dist: str = "extra", value: str = "extra_plugins") -> None:
        self._module = module
        self.dist = SimpleNamespace(name=dist, version="0.3")
        self.value = value

    def load(self) -> Any:
        if isinstance(self._module, Exception):
            raise self._module
        return self._module


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def install(*entries: Entry) -> None:
        def entry_points(group: str) -> list[Entry]:
            assert group == registry.GROUP
            return list(entries)

        monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)

    installed.cache_clear()
    yield install
    installed.cache_clear()


def module(*plugins: object) -> Any:
    return SimpleNamespace(PLUGINS=plugins)


def test_installed_names_the_distribution(offer: Any) -> None:
    offer(Entry(module(make(name="b"), make(name="a"))))
    found = installed()
    assert list(found.plugins) == ["a", "b"]
    assert found.distributions == {"a": "extra 0.3", "b": "extra 0.3"}


def test_installed_refuses_a_name_given_twice(offer: Any) -> None:
    offer(Entry(module(make()), "one", "a"), Entry(module(make()), "two", "b"))
    with pytest.raises(PluginError, match=r"named 'sample': one from one 0\.3, one from two 0\.3"):
        installed()


def test_installed_names_a_distribution_that_cannot_be_imported(offer: Any) -> None:
    offer(Entry(ImportError("No module named 'gone'")))
    with pytest.raises(
        PluginError, match=r"of extra 0\.3 cannot be imported: ImportError: No mod"
    ):
        installed()


@pytest.mark.parametrize("broken", [SimpleNamespace(), SimpleNamespace(PLUGINS=[make()])])
def test_installed_refuses_a_module_without_the_tuple(offer: Any, broken: Any) -> None:
    offer(Entry(broken))
    with pytest.raises(PluginError, match=r"extra_plugins of extra 0\.3 has no tuple named PLUGI"):
        installed()


def test_installed_without_any_distribution(offer: Any) -> None:
    offer()
    assert installed().plugins == {}


def test_built_in_plugins_come_through_the_same_door() -> None:
    installed.cache_clear()
    found = installed()
    assert {"batch", "precision"} <= set(found.plugins)
    assert found.distributions["batch"].startswith("autotune ")


def test_select_cuts_down_and_refuses_unknown_names() -> None:
    class Other(make()):  # type: ignore[misc]
        """Another."""

        name: ClassVar = "other"

    both = Registry({"sample": make()(), "other": Other()}, {"sample": "x 1", "other": "y 2"})
    assert both.select(None) is both
    cut = both.select(["other"])
    assert (set(cut.plugins), cut.distributions) == ({"other"}, {"other": "y 2"})
    with pytest.raises(InputError, match="no plugin named 'smple'; did you mean 'sample'"):
        both.select(["smple"])
    with pytest.raises(InputError, match="no plugin named 'x'"):
        both.get("x")
