"""Tokens, submissions and progress, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autotune.errors import InputError
from autotune.messages import Progress
from autotune.outcome import Outcome
from autotune.recipe import RecipeKeys
from autotune.store import Store, TrialState
from autotune.store.lock import is_run, study_lock
from autotune.store.submissions import Submissions, SubmissionState
from autotune.store.tokens import Scope, Tokens
from autotune.store.watch import ProgressWriter, Watch
from autotune.testing import fake_result, fake_spec

QUEUED, RUNNING, ENDED = SubmissionState.QUEUED, SubmissionState.RUNNING, SubmissionState.ENDED


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with Store.open(database) as opened:
        yield opened


def test_only_the_whole_token_is_found_until_it_is_revoked(store: Store) -> None:
    tokens = Tokens(store)
    token = tokens.create("ci", Scope.SUBMIT)
    found = tokens.find(token)
    assert found is not None
    assert (found.name, found.scope) == ("ci", Scope.SUBMIT)
    flipped = token[:-1] + ("A" if token[-1] != "A" else "B")
    for wrong in ("", token[:-1], flipped, token + "A", token.upper(), "ci", "autotune_\0_\0"):
        assert tokens.find(wrong) is None
    with pytest.raises(InputError, match="a token named 'ci' exists"):
        tokens.create("ci", Scope.READ)
    tokens.revoke("ci")
    assert tokens.find(token) is None
    assert tokens.all()[0].revoked_at is not None
    with pytest.raises(InputError, match="no token named 'c'; did you mean 'ci'"):
        tokens.revoke("c")


def test_scopes_include_those_before() -> None:
    assert Scope.ADMIN.includes(Scope.READ)
    assert Scope.SUBMIT.includes(Scope.SUBMIT)
    assert not Scope.READ.includes(Scope.SUBMIT)


def test_submission_goes_from_queue_to_end_and_again(store: Store) -> None:
    submissions = Submissions(store)
    submissions.add("s", "ci", {"model": "m"})
    submissions.add("t", "ci", {"model": "m"})
    assert [s.name for s in submissions.all(QUEUED)] == ["s", "t"]
    assert submissions.change("s", QUEUED, RUNNING)
    assert not submissions.change("s", QUEUED, RUNNING), "another one has it"
    assert not submissions.resume("s", "ci", {"model": "n"}), "it runs"
    assert submissions.change("s", RUNNING, ENDED, 2, "no such model")
    ended = submissions.find("s")
    assert ended is not None
    assert (ended.exit_code, ended.message, ended.resume) == (2, "no such model", False)
    assert submissions.resume("s", "ci", {"model": "n"})
    again = submissions.find("s")
    assert again is not None
    assert (again.study, again.resume, again.message) == ({"model": "n"}, True, "")
    assert [s.name for s in submissions.all(QUEUED)] == ["t", "s"], "it waits behind the others"
    assert submissions.count(QUEUED) == 2


def test_submission_of_a_taken_name_is_refused(store: Store) -> None:
    submissions = Submissions(store)
    store.create_study("here", {}, [], [], {})
    submissions.add("s", "ci", {})
    for name in ("here", "s"):
        with pytest.raises(InputError, match=f"study '{name}' exists already"):
            submissions.add(name, "ci", {})


def test_look_sees_trials_and_what_they_do(store: Store) -> None:
    watch = Watch(store)
    assert watch.look("s") is None
    store.create_study("s", {}, [], [], {})
    store.start_trial("s", 0, {}, RecipeKeys("o", "s", "r"))
    keep = ProgressWriter(watch, "s")
    for detail in ("", "pair 1", "pair 2"):  # a second apart at least, or a new phase
        keep(Progress(number=0, phase="measure", detail=detail))
    keep(Progress(number=0, phase="energy"))
    look = watch.look("s")
    assert look is not None
    assert [(t.number, t.state) for t in look.trials] == [(0, TrialState.RUNNING)]
    assert [(p.number, p.phase) for p in look.phases] == [(0, "energy")]
    store.finish_trial("s", fake_result(fake_spec(0)))
    watch.clear("s")
    look = watch.look("s")
    assert look is not None
    assert look.trials[0].outcome is Outcome.OK
    assert look.phases == ()


def test_lock_is_seen_and_not_taken(store: Store, database: str) -> None:
    assert not is_run(database, "s")
    lock = study_lock(database, "s")
    lock.acquire()
    assert is_run(database, "s")
    assert not is_run(database, "t")
    lock.keep()
    lock.release()
    assert not is_run(database, "s")
