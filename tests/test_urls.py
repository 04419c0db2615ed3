"""What of a URL may be printed."""

from __future__ import annotations

import pytest

from autotune.urls import without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hush@host:6379/1", "redis://:***@host:6379/1"),
        ("redis://host?password=hush", "redis://host"),
        ("redis://:hu/sh@host", "redis://…"),
        ("redis://:12/hush@host", "redis://…"),
        ("postgresql://me:hush@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
        ("host", "://host"),
    ],
)
def test_no_password_is_left(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
    assert "hush" not in without_secrets(url)
