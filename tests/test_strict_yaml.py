"""Keys that are given twice, and what looks like that."""

from __future__ import annotations

import pytest
import yaml

from autotune.strict_yaml import load_yaml


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2", "b: {a: 1, 'a': 2}", "- {a: 1}\n- {a: 1, b: 2, a: 1}", "1: x\n1: y"],
)
def test_a_key_that_is_given_twice_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="is given twice"):
        load_yaml(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: {a: 2}", {"a": 1, "b": {"a": 2}}),
        ("1: x\n'1': y", {1: "x", "1": "y"}),
        ("a: &a {x: 1}\nb: {<<: *a, x: 2}", {"a": {"x": 1}, "b": {"x": 2}}),
        ("[1, 2]", [1, 2]),
        ("", None),
    ],
)
def test_other_text_is_read_as_ever(text: str, value: object) -> None:
    assert load_yaml(text) == value
