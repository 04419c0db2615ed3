"""YAML in which no key of a mapping is lost."""

from __future__ import annotations

from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


class _UniqueKeys(yaml.SafeLoader):
    """PyYAML takes the last of several values of a key, and says nothing of the others."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            known = (key.tag, str(key.value))
            if known in seen and key.tag != _MERGE:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value} is given twice", problem_mark=key.start_mark
                )
            seen.add(known)
        return node


def load_yaml(text: str) -> Any:
    """The value that a text holds.

    Raises:
        yaml.YAMLError: It is no YAML, or gives a key of a mapping twice.
    """
    return yaml.load(text, Loader=_UniqueKeys)
