"""What an administrator may write."""

from __future__ import annotations

import pytest

from autotune.errors import InputError
from autotune.service.settings import parse_models


def test_models_have_names() -> None:
    assert parse_models(["a=/models/a", "b=org/b=1"]) == {"a": "/models/a", "b": "org/b=1"}


@pytest.mark.parametrize("text", ["a", "=x", "a=", "../a=x", "a b=x"])
def test_model_without_a_name_or_a_path_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected NAME=PATH"):
        parse_models([text])


def test_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(InputError, match="names 'a' twice"):
        parse_models(["a=x", "a=y"])
