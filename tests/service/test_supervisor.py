"""One service for one database, and what it finds when it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import InputError
from autotune.service.children import LOG_FILE, Children
from autotune.service.settings import ServiceSettings
from autotune.service.supervisor import Supervisor
from autotune.store import Store
from autotune.store.submissions import Submissions, SubmissionState


def supervisor(database: str, folder: Path, store: Store) -> Supervisor:
    settings = ServiceSettings(database=database, directory=folder, models={}, look_seconds=0.01)
    return Supervisor(settings, store, Children(settings))


def test_second_service_on_a_database_is_refused(database: str, tmp_path: Path) -> None:
    with Store.open(database) as store:
        first, second = (supervisor(database, tmp_path, store) for _ in range(2))
        first.claim()
        with pytest.raises(InputError, match="another autotune serve uses this database"):
            second.claim()
        first.close()
        second.claim()
        second.close()


def test_study_whose_process_died_with_its_service_has_ended(
    database: str, tmp_path: Path
) -> None:
    with Store.open(database) as store:
        submissions = Submissions(store)
        submissions.add("s", "ci", {})
        submissions.change("s", SubmissionState.QUEUED, SubmissionState.RUNNING)
        started = supervisor(database, tmp_path, store)
        started.claim()
        started.start()
        started.close()
        (ended,) = submissions.all(SubmissionState.ENDED)
        assert ended.name == "s"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("trial 1\nerror: no model\n", "no model"),
        ("error: first\n#1\nerror: second;\nmore\n", "second;\nmore"),
        ("it went well\n", ""),
        (None, ""),
    ],
)
def test_last_words_are_the_last_error(tmp_path: Path, log: str | None, words: str) -> None:
    children = Children(ServiceSettings(database="", directory=tmp_path, models={}))
    (tmp_path / "s").mkdir()
    if log is not None:
        (tmp_path / "s" / LOG_FILE).write_text(log)
    assert children.last_words("s") == words
