"""Tokens from the command line."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from autotune.store import Store
from autotune.store.tokens import Tokens

RunMain = Callable[..., tuple[int, str, str]]


def test_token_is_printed_once_and_stored_as_a_hash(run_main: RunMain, tmp_path: Path) -> None:
    code, said, _ = run_main("serve", "token", "create", "ci", "--scope", "submit")
    assert code == 0
    token = said.strip()
    database = tmp_path / "studies/autotune.db"
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("studies/*"))
    assert token.rpartition("_")[2].encode() not in stored
    with Store.open(f"sqlite:///{database}") as store:
        found = Tokens(store).find(token)
    assert found is not None
    assert (found.name, found.scope) == ("ci", "submit")

    _, listed, _ = run_main("serve", "token", "list", "--json")
    assert [(t["name"], t["revoked_at"]) for t in json.loads(listed)] == [("ci", None)]
    assert run_main("serve", "token", "revoke", "ci")[0] == 0
    assert "revoked" in run_main("serve", "token", "list")[1]
    with sqlite3.connect(database) as connection:
        (row,) = connection.execute("SELECT revoked_at FROM autotune_tokens").fetchall()
    connection.close()
    assert row[0]


def test_wrong_commands_say_what_is_allowed(run_main: RunMain) -> None:
    code, _, said = run_main("serve", "token", "create", "ci", "--scope", "root")
    assert code == 2
    assert "no scope named 'root'; allowed: read, submit, admin" in said
    assert "no name for a token" in run_main("serve", "token", "create", "a b")[2]
    code, _, said = run_main("serve", "--model", "a=/nowhere/at/all")
    assert code == 2
    assert "--model a: no directory /nowhere/at/all" in said
