"""Jobs from queue to result, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autotune.outcome import Outcome
from autotune.recipe import RecipeKeys
from autotune.store import Store
from autotune.store.jobs import TASK_JOB, Jobs, JobState
from autotune.testing import fake_result, fake_spec

SPEC = fake_spec(3, {"batch": {"size": 4}})


@pytest.fixture
def jobs(database: str) -> Iterator[Jobs]:
    with Store.open(database) as store:
        store.create_study("fake", {}, [], [], {})
        yield Jobs(store)


def test_job_goes_from_queue_to_result(jobs: Jobs) -> None:
    job = jobs.put(SPEC, "cpu")
    assert (job.state, job.attempt, job.number, job.run) == (JobState.QUEUED, 1, 3, 0)
    assert jobs.lease(job.id, 1, "worker") == SPEC
    assert jobs.beat(job.id, 1)
    (leased,) = jobs.look([job.id])
    assert (leased.state, leased.worker, leased.beats) == (JobState.LEASED, "worker", 2)
    result = fake_result(SPEC, weights_bytes=1.0)
    assert jobs.finish(job.id, result)
    assert jobs.look([job.id])[0].state is JobState.DONE
    assert jobs.look([job.id])[0].result == result


def test_put_again_adopts_what_is_there(jobs: Jobs) -> None:
    job = jobs.put(SPEC, "cpu")
    jobs.lease(job.id, 1, "worker")
    assert jobs.put(SPEC, "cpu") == jobs.look([job.id])[0]


def test_repetitions_and_tasks_are_jobs_of_their_own(jobs: Jobs) -> None:
    specs = [SPEC.model_copy(update={"confirmation": n}) for n in (0, 1, 2)]
    specs.append(SPEC.model_copy(update={"tasks_only": True}))
    found = [jobs.put(spec, "cpu") for spec in specs]
    assert [job.run for job in found] == [0, 1, 2, TASK_JOB]
    assert len({job.id for job in found}) == 4


def test_only_one_gets_a_lease(jobs: Jobs) -> None:
    job = jobs.put(SPEC, "cpu")
    assert jobs.lease(job.id, 2, "early") is None, "no such attempt yet"
    assert jobs.lease(job.id, 1, "first") is not None
    assert jobs.lease(job.id, 1, "second") is None
    assert jobs.lease(job.id + 1, 1, "third") is None, "no such job"


def test_expired_lease_is_over_for_its_holder_and_yet_its_result_counts(jobs: Jobs) -> None:
    job = jobs.put(SPEC, "cpu")
    jobs.lease(job.id, 1, "slow")
    (seen,) = jobs.look([job.id])
    assert jobs.expire(job.id, 1, seen.beats)
    assert not jobs.beat(job.id, 1)
    assert jobs.look([job.id])[0].deaths == 1
    assert jobs.lease(job.id, 2, "next") == SPEC
    assert jobs.finish(job.id, fake_result(SPEC)), "what was measured is kept"
    assert not jobs.beat(job.id, 2), "the next one may stop"
    assert not jobs.finish(job.id, fake_result(SPEC, Outcome.CRASHED))
    (found,) = jobs.look([job.id])
    assert found.result is not None
    assert found.result.outcome is Outcome.OK


def test_a_beat_saves_a_lease_from_expiring(jobs: Jobs) -> None:
    job = jobs.put(SPEC, "cpu")
    jobs.lease(job.id, 1, "worker")
    (seen,) = jobs.look([job.id])
    jobs.beat(job.id, 1)
    assert not jobs.expire(job.id, 1, seen.beats)
    assert jobs.beat(job.id, 1)


def test_worker_that_refused_does_not_get_the_job_again(jobs: Jobs) -> None:
    job = jobs.put(SPEC, "cpu")
    jobs.lease(job.id, 1, "one")
    assert jobs.refuse(job.id, 1, "one", "no model here")
    (found,) = jobs.look([job.id])
    assert (found.state, found.attempt, found.deaths) == (JobState.QUEUED, 2, 0)
    assert found.refused == {"one": "no model here"}
    assert jobs.lease(job.id, 2, "one") is None
    assert jobs.lease(job.id, 2, "two") == SPEC
    assert not jobs.refuse(job.id, 1, "one", "late")


def test_lease_may_be_taken_again_by_the_one_who_has_it(jobs: Jobs) -> None:
    """The database may have gone away just when it said yes."""
    job = jobs.put(SPEC, "cpu")
    assert jobs.lease(job.id, 1, "worker") == jobs.lease(job.id, 1, "worker") == SPEC


def test_called_off_job_is_nobodys_and_what_is_measured_stays(jobs: Jobs) -> None:
    running, done = jobs.put(SPEC, "cpu"), jobs.put(fake_spec(4), "cpu")
    jobs.lease(running.id, 1, "worker")
    jobs.finish(done.id, fake_result(fake_spec(4)))
    jobs.call_off("fake")
    assert not jobs.beat(running.id, 1)
    assert not jobs.finish(running.id, fake_result(SPEC))
    assert [job.id for job in jobs.look([running.id, done.id])] == [done.id]


def test_number_of_a_removed_job_is_never_given_again(jobs: Jobs) -> None:
    """A worker that wakes up late must not store its result in another trial's job."""
    job = jobs.put(SPEC, "cpu")
    jobs.remove([job.id])
    assert jobs.put(fake_spec(4), "cpu").id != job.id


def test_job_that_asks_for_something_else_is_replaced(jobs: Jobs) -> None:
    job = jobs.put(SPEC, "cpu")
    knows = SPEC.model_copy(update={"known_accuracy": {}, "cache_directory": "/elsewhere"})
    assert jobs.put(knows, "cpu").id == job.id
    assert jobs.put(SPEC, "gpu").id != job.id
    other = SPEC.model_copy(update={"seed": 7})
    assert jobs.put(other, "gpu").id > job.id + 1


def test_results_that_are_stored_already_are_tidied_away(jobs: Jobs) -> None:
    store, keys = jobs._store, RecipeKeys(output_key="o", setup_key="s", recipe_key="r")
    store.start_trial("fake", 3, SPEC.recipe, keys)
    stored, waiting = jobs.put(SPEC, "cpu"), jobs.put(fake_spec(4), "cpu")
    for job, spec in ((stored, SPEC), (waiting, fake_spec(4))):
        jobs.finish(job.id, fake_result(spec))
    store.finish_trial("fake", fake_result(SPEC))
    jobs.tidy("fake")
    assert [job.id for job in jobs.look([stored.id, waiting.id])] == [waiting.id]
