"""The contract of plugins as tests."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any, ClassVar

from autotune.device import Device
from autotune.messages import RecipeDict
from autotune.params import Scalar
from autotune.plugin import Phase, Plugin, Unsupported
from autotune.recipe import Recipe, is_off
from autotune.registry import checked
from autotune.space import variants
from autotune.testing.fakes import LLAMA, FakePruning, fake_device

Variant = dict[str, Scalar]
"""One combination of a plugin's values."""

HEAVY = ("torch", "transformers")
"""What importing a plugin must not load."""


class PluginContract:
    """What every plugin must keep. Hooks that need a model are left to the plugin's own tests."""

    plugin: ClassVar[type[Plugin]]
    model_configs: ClassVar[Sequence[Mapping[str, Any]]] = (LLAMA,)
    """``config.json`` of models that the plugin can work on."""

    def test_is_accepted_at_registration(self) -> None:
        assert checked(self.plugin, "the contract test").name == self.plugin.name

    def test_says_in_one_sentence_what_it_does(self) -> None:
        first = (self.plugin.__doc__ or "").strip().partition("\n")[0]
        assert first.endswith("."), f"the docstring's first line is no sentence: {first!r}"
        assert ". " not in first, f"the docstring's first line is several sentences: {first!r}"

    def test_every_variant_is_json_and_survives_a_recipe(self) -> None:
        pruning = FakePruning()
        plugins = {self.plugin.name: self.plugin(), pruning.name: pruning}
        # A plugin that recovers is allowed only where another one changes the structure.
        also = {pruning.name: {"on": True}} if self.plugin.phase is Phase.RECOVER else {}
        for variant in self._variants():
            recipe = Recipe.of({self.plugin.name: variant, **also}, plugins)
            travelled: RecipeDict = json.loads(json.dumps(recipe.to_dict(), allow_nan=False))
            again = Recipe.of(travelled, plugins)
            assert again == recipe, f"{variant} is another recipe after a round trip"
            assert again.key == recipe.key, f"{variant} has another key after a round trip"

    def test_defaults_are_off_and_off_is_the_baseline(self) -> None:
        plugin = self.plugin()
        off = Recipe.of({plugin.name: {}}, {plugin.name: plugin})
        assert off.is_baseline, f"the defaults change something: {off}"
        assert any(not is_off(plugin, v) for v in self._variants()), "every variant is off"

    def test_env_is_text(self) -> None:
        for variant in self._on():
            try:
                env = self.plugin().env(variant)
            except Unsupported:  # what it loads is not installed here
                continue
            texts = [text for item in env.items() for text in item]
            assert all(isinstance(text, str) for text in texts), f"env({variant}) gives {env}"

    def test_expectations_are_text(self) -> None:
        for variant in self._on():
            asked = self.plugin().expects(variant)
            texts = [text for item in asked.items() for text in item]
            assert all(isinstance(text, str) for text in texts), f"expects({variant}): {asked}"

    def test_arguments_are_json(self) -> None:
        for variant in self._on():
            plugin = self.plugin()
            for hook in (plugin.load_args, plugin.run_args, plugin.device_settings):
                given = hook(variant)
                assert json.loads(json.dumps(given, allow_nan=False)) == given, (
                    f"{hook.__name__}({variant}) gives {given}: not JSON with text keys"
                )

    def test_check_refuses_with_a_reason_or_not_at_all(self) -> None:
        for variant, config, device in self._cases():
            reason = self._refusal(variant, config, device)
            assert reason is None or reason.strip(), f"check({variant}) refuses without a reason"

    def test_accepts_its_models_somewhere(self) -> None:
        accepted = [config for _, config, _ in self._accepted()]
        for config in self.model_configs:
            assert config in accepted, f"check refuses every variant for {config}; name others"

    def test_hooks_are_pure(self) -> None:
        for variant, config, device in self._accepted():
            plugin = self.plugin()
            self._assert_pure(plugin.check, variant, config, device)
            self._assert_pure(plugin.estimate, variant, config)
            self._assert_pure(plugin.gpus, variant)
            assert plugin.gpus(variant) >= 1, f"gpus({variant}): {plugin.gpus(variant)}"
            self._assert_pure(plugin.processes, variant)
            divided = plugin.processes(variant)
            assert divided.count >= divided.replicas >= 1, f"processes({variant}): {divided}"
            assert divided.count % divided.replicas == 0, f"processes({variant}): {divided}"
            hooks = (plugin.env, plugin.load_args, plugin.run_args, plugin.expects)
            for hook in (*hooks, plugin.is_in_weights):
                self._assert_pure(hook, variant)
            assert type(plugin.is_in_weights(variant)) is bool, f"is_in_weights({variant})"

    def test_estimate_gives_positive_factors(self) -> None:
        for variant, config, _ in self._accepted():
            factors = astuple(self.plugin().estimate(variant, config))
            assert all(math.isfinite(f) and f > 0 for f in factors), f"{variant}: {factors}"

    def test_import_loads_no_heavy_library(self) -> None:
        code = f"import {self.plugin.__module__}, sys; print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        assert done.returncode == 0, done.stderr
        loaded = set(HEAVY) & set(done.stdout.split())
        assert not loaded, f"import {', '.join(sorted(loaded))} inside the hooks that need it"

    def _variants(self) -> Iterator[Variant]:
        return variants(self.plugin(), {})

    def _on(self) -> list[Variant]:
        """Hooks are only called for plugins that are on."""
        return [v for v in self._variants() if not is_off(self.plugin(), v)]

    def _cases(self) -> Iterator[tuple[Variant, Mapping[str, Any], Device]]:
        """What the coordinator would ask ``check``: never for a device that is ruled out."""
        for device in (fake_device("cpu"), fake_device("cuda")):
            if self.plugin.requires.device in (None, device.kind):
                for config in self.model_configs:
                    yield from ((variant, config, device) for variant in self._on())

    def _accepted(self) -> list[tuple[Variant, Mapping[str, Any], Device]]:
        return [case for case in self._cases() if self._refusal(*case) is None]

    def _refusal(self, variant: Variant, config: Mapping[str, Any], device: Device) -> str | None:
        try:
            self.plugin().check(variant, config, device)
        except Unsupported as refusal:
            return str(refusal)
        return None

    @staticmethod
    def _assert_pure(hook: Callable[..., Any], *given: Any) -> None:
        before = copy.deepcopy(given)
        results = hook(*given), hook(*given)
        assert results[0] == results[1], f"{hook.__name__}{given} gives two results: {results}"
        assert given == before, f"{hook.__name__} changed its arguments {before} to {given}"


def broken_rules(
    plugin: type[Plugin], model_configs: Sequence[Mapping[str, Any]] = (LLAMA,)
) -> dict[str, str]:
    """Checks the contract of a plugin that is installed, without pytest.

    Whether it accepts the models at all is not asked: a plugin may refuse one that it was not
    made for.

    Args:
        plugin: Its class.
        model_configs: ``config.json`` of the models that it is asked about.

    Returns:
        Rule in words → how it is broken; empty where all are kept.
    """
    members = {"plugin": plugin, "model_configs": tuple(model_configs)}
    contract = type("Installed", (PluginContract,), members)()
    rules = [name for name in dir(contract) if name.startswith("test_")]
    rules.remove("test_accepts_its_models_somewhere")
    broken = ((name, _how_broken(getattr(contract, name))) for name in rules)
    return {name.removeprefix("test_").replace("_", " "): how for name, how in broken if how}


def _how_broken(rule: Callable[[], None]) -> str:
    try:
        rule()
    except AssertionError as error:
        return str(error) or "it does not hold"
    except Exception as error:  # what a hook raised is what is wrong with it
        return f"{type(error).__name__}: {error}"
    return ""
