"""Whether installed plugins keep the contract, as rows of ``autotune plugins check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.search.check import Tried, Verdict
from autotune.testing.plugins import broken_rules

if TYPE_CHECKING:
    from autotune.registry import Registry


def judge_contracts(registry: Registry, model_config: dict[str, Any]) -> list[Tried]:
    """A row for each plugin that keeps the contract, and one for each rule that is broken.

    Args:
        registry: The plugins.
        model_config: What they are asked about.
    """
    rows: list[Tried] = []
    for name, plugin in registry.plugins.items():
        broken = broken_rules(type(plugin), [model_config])
        rows += [_failed(name, rule, how) for rule, how in broken.items()]
        if not broken:
            rows.append(Tried(name, {}, Verdict.OK, "keeps the contract"))
    return rows


def _failed(name: str, rule: str, how: str) -> Tried:
    return Tried(name, {}, Verdict.FAILED, f"breaks the contract: {rule}: {how}")
