"""Tokens from the command line."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune.store import Store
from autotune.store.tokens import Tokens

RunAutotune = Callable[..., Any]


def test_token_is_printed_once_and_stored_as_a_hash(autotune: RunAutotune, tmp_path: Path) -> None:
    made = autotune("serve", "token", "create", "ci", "--scope", "submit")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    database = tmp_path / "studies/autotune.db"
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("studies/*"))
    assert token.rpartition("_")[2].encode() not in stored
    with Store.open(f"sqlite:///{database}") as store:
        found = Tokens(store).find(token)
    assert found is not None
    assert (found.name, found.scope) == ("ci", "submit")

    listed = autotune("serve", "token", "list", "--json")
    assert [(t["name"], t["revoked_at"]) for t in json.loads(listed.stdout)] == [("ci", None)]
    assert autotune("serve", "token", "revoke", "ci").returncode == 0
    assert "revoked" in autotune("serve", "token", "list").stdout
    with sqlite3.connect(database) as connection:
        (row,) = connection.execute("SELECT revoked_at FROM autotune_tokens").fetchall()
    connection.close()
    assert row[0]


def test_wrong_token_commands_say_what_is_allowed(autotune: RunAutotune) -> None:
    wrong = autotune("serve", "token", "create", "ci", "--scope", "root")
    assert wrong.returncode == 2
    assert "no scope named 'root'; allowed: read, submit, admin" in wrong.stderr
    assert "no name for a token" in autotune("serve", "token", "create", "a b").stderr
    unknown = autotune("serve", "--model", "a=/nowhere/at/all")
    assert unknown.returncode == 2
    assert "--model a: no directory /nowhere/at/all" in unknown.stderr
