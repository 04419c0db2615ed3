"""One complete choice of plugins and values: canonical, hashable, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from autotune.errors import InputError, unknown_name
from autotune.hashing import sha256_json
from autotune.messages import RecipeDict
from autotune.params import Float, Param, Params, Scalar, Stage, any_of
from autotune.plugin import Phase, Plugin


@dataclass(frozen=True)
class Recipe:
    """Plugin → values, holding only plugins that are on, each with all its active params.

    Build it with ``Recipe.of``; two recipes that mean the same are equal.
    """

    choices: tuple[tuple[str, tuple[tuple[str, Scalar], ...]], ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Params], plugins: Mapping[str, Plugin]) -> Recipe:
        """Completes and checks a choice: fills defaults, leaves out plugins that are off.

        Raises:
            InputError: Unknown plugin, param or value, a param that would have no effect, two
                plugins that conflict, or one that recovers what no other has taken away.
        """
        completed = {
            name: complete(plugins[name], values)
            for name, values in given.items()
            if _known(name, plugins)
        }
        for name, values in completed.items():
            _refuse_ineffective(plugins[name], given[name], values)
        on = {n: v for n, v in completed.items() if not is_off(plugins[n], v)}
        _refuse_conflicts(on, plugins)
        _refuse_needless(on, plugins)
        return cls.from_dict(on)

    @classmethod
    def from_dict(cls, on: Mapping[str, Params]) -> Recipe:
        """A recipe from what ``to_dict`` gave: complete, and only plugins that are on."""
        return cls(tuple((name, tuple(sorted(on[name].items()))) for name in sorted(on)))

    def to_dict(self) -> RecipeDict:
        """Plain data: plugin → params."""
        return {name: dict(values) for name, values in self.choices}

    @property
    def key(self) -> str:
        """Identity of the recipe: 16 hexadecimal digits."""
        return sha256_json(self.to_dict())[:16]

    @property
    def is_baseline(self) -> bool:
        """Whether no plugin changes anything."""
        return not self.choices

    def __str__(self) -> str:
        return describe(self.to_dict())


def describe(recipe: Mapping[str, Params]) -> str:
    """A recipe in words: ``batch 8 · quantize int8_weight_only``."""
    if not recipe:
        return "baseline"
    parts = (
        f"{name} {' '.join(_word(param, value) for param, value in _first_choice_first(values))}"
        for name, values in recipe.items()
    )
    return " · ".join(parts)


def _word(param: str, value: Scalar) -> str:
    return value if isinstance(value, str) else f"{param}={value}"


def _first_choice_first(values: Params) -> list[tuple[str, Scalar]]:
    return sorted(values.items(), key=lambda item: (not isinstance(item[1], str), item[0]))


def _known(name: str, plugins: Mapping[str, Plugin]) -> bool:
    if name not in plugins:
        raise InputError(unknown_name("plugin", name, plugins))
    return True


def complete(plugin: Plugin, given: Params) -> dict[str, Scalar]:
    """Every active param of a plugin: the given values, and defaults for the rest.

    Raises:
        InputError: A param that the plugin does not have, or a value that it does not allow.
    """
    for name in given:
        if name not in plugin.params:
            raise InputError(unknown_name(f"param of plugin {plugin.name!r}", name, plugin.params))
    values: dict[str, Scalar] = {}
    for name, param in plugin.params.items():
        if param.active(values):
            values[name] = checked_value(plugin, name, given.get(name, param.default))
    return values


def _refuse_ineffective(plugin: Plugin, given: Params, completed: Params) -> None:
    for name, value in given.items():
        if name not in completed and value != plugin.params[name].default:
            raise InputError(_has_no_effect(plugin, name, value, completed))


def _has_no_effect(plugin: Plugin, name: str, value: Scalar, chosen: Params) -> str:
    conditions = plugin.params[name].when.items()
    wanted = " and ".join(
        f"{plugin.name}.{key} = {any_of(allowed)}" for key, allowed in conditions
    )
    now = ", ".join(
        f"{plugin.name}.{key} = {chosen[key]}" for key, _ in conditions if key in chosen
    )
    return f"{plugin.name}.{name}={value} has no effect: it needs {wanted}, here {now or 'none'}"


def checked_value(plugin: Plugin, name: str, value: Scalar) -> Scalar:
    """The value itself, in the param's own type.

    Raises:
        InputError: The param does not allow it.
    """
    param = plugin.params[name]
    if not param.contains(value):
        where = f"value of {plugin.name}.{name}"
        if isinstance(value, str) and all(isinstance(v, str) for v in param.values()):
            raise InputError(unknown_name(where, value, [str(v) for v in param.values()]))
        raise InputError(f"no {where} {value!r}; allowed: {param.describe()}")
    return float(value) if isinstance(param, Float) else value


def is_off(plugin: Plugin, values: Params) -> bool:
    """Whether all active params are at their defaults."""
    return all(value == plugin.params[name].default for name, value in values.items())


def _refuse_conflicts(on: Mapping[str, Params], plugins: Mapping[str, Plugin]) -> None:
    for name in on:
        for other in plugins[name].conflicts:
            if other in on:
                raise InputError(
                    f"plugins {name!r} and {other!r} conflict; switch one of them off"
                )


def needless(on: Iterable[str], plugins: Mapping[str, Plugin]) -> list[str]:
    """Names of the plugins that recover accuracy where none changes the structure: there is
    nothing to recover, and a trial would pay for training the original towards itself.

    Args:
        on: Names of the plugins that are on.
        plugins: The plugins by name.
    """
    phases = {name: plugins[name].phase for name in on}
    if Phase.STRUCTURE in phases.values():
        return []
    return sorted(name for name, phase in phases.items() if phase is Phase.RECOVER)


def _refuse_needless(on: Mapping[str, Params], plugins: Mapping[str, Plugin]) -> None:
    for name in needless(on, plugins):
        raise InputError(
            f"plugin {name!r} has nothing to recover: no plugin of this recipe changes the "
            f"model's structure; switch one on that does, such as prune, or {name} off"
        )


@dataclass(frozen=True)
class RecipeKeys:
    """The three identities that the factorization rests on (ARCHITECTURE.md, stages)."""

    output_key: str
    """Same numbers: accuracy is measured once per output_key."""
    setup_key: str
    """Same prepared process: load, transform and compile are paid once per setup_key."""
    recipe_key: str


def keys(recipe: Recipe, plugins: Mapping[str, Plugin], versions: Mapping[str, str]) -> RecipeKeys:
    """Derives the keys from the stages of the params.

    Args:
        recipe: The recipe.
        plugins: The declared plugins, by name.
        versions: Version of the distribution of each plugin: new code is a new output.
    """
    chosen = recipe.to_dict()
    output = _part(chosen, plugins, lambda p: p.changes_output)
    setup = _part(chosen, plugins, needs_setup)
    used = {name: versions.get(name, "") for name in output}
    return RecipeKeys(
        output_key=sha256_json([output, used])[:16],
        setup_key=sha256_json(setup)[:16],
        recipe_key=recipe.key,
    )


def needs_setup(param: Param) -> bool:
    """Whether another value of it needs another prepared process."""
    return param.stage is not Stage.RUN


def _part(
    chosen: RecipeDict, plugins: Mapping[str, Plugin], belongs: Callable[[Param], bool]
) -> RecipeDict:
    """Each plugin's share, of those whose share is not as in the baseline."""
    parts = {name: share(plugins[name], values, belongs) for name, values in chosen.items()}
    return {name: mine for name, mine in parts.items() if mine}


def share(plugin: Plugin, values: Params, belongs: Callable[[Param], bool]) -> dict[str, Scalar]:
    """A plugin's params that ``belongs`` accepts; empty where they are as in the baseline. A param
    that is active only because another one is on counts, also at its default.

    Args:
        plugin: The plugin.
        values: All its active params.
        belongs: Which params are asked for.
    """
    off = complete(plugin, {})
    mine = {k: v for k, v in values.items() if belongs(plugin.params[k])}
    return mine if any(k not in off or v != off[k] for k, v in mine.items()) else {}
