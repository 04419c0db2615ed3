"""Starts what waits, notices what ended, and stops what shall stop."""

from __future__ import annotations

import threading

import structlog

from autotune.config import StudyFile
from autotune.errors import AutotuneError, InputError
from autotune.report.events import events
from autotune.service.children import Child, Children
from autotune.service.door import definition
from autotune.service.settings import ServiceSettings
from autotune.store.lock import study_lock
from autotune.store.store import Store
from autotune.store.submissions import Submission, Submissions, SubmissionState
from autotune.store.watch import Look, Watch

_SERVICE_LOCK = " serve"
"""No study can have this name."""

_STOPPED = (0, 130, -2)
"""Exit codes of a search that ended well, or by Ctrl-C, also while it was still starting."""

_log = structlog.get_logger(__name__)


class Supervisor:
    """A thread that carries the queue. The database is the truth: another service that is started
    after this one died goes on where it was."""

    def __init__(self, settings: ServiceSettings, store: Store, children: Children) -> None:
        self._settings = settings
        self._children = children
        self._submissions = Submissions(store)
        self._watch = Watch(store)
        self._lock = study_lock(settings.database, _SERVICE_LOCK)
        self._running: dict[str, Child] = {}
        self._looks: dict[str, Look] = {}
        self._stopping: set[str] = set()
        self._woken = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def claim(self) -> None:
        """Makes sure that no other service carries the same queue.

        Raises:
            InputError: Another service uses this database.
            StoreError: It cannot be used.
        """
        try:
            self._lock.acquire()
        except InputError as error:
            raise InputError(
                "another autotune serve uses this database; stop it, or give another --database"
            ) from error

    def start(self) -> None:
        """Finds what an earlier service left, and begins.

        Raises:
            StoreError: The database cannot be used.
        """
        self._adopt()
        self._thread.start()

    def close(self) -> None:
        """Lets go. Studies that run go on: the next service finds them."""
        self._over.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()
        self._lock.release()

    def wake(self) -> None:
        """Something was queued, or shall stop."""
        self._woken.set()

    def _adopt(self) -> None:
        for state in (SubmissionState.RUNNING, SubmissionState.STOPPING):
            for submission in self._submissions.all(state):
                child = self._children.find(submission.name)
                if child is None:
                    self._submissions.change(submission.name, state, SubmissionState.ENDED)
                    _log.warning("study ended while no service ran", study=submission.name)
                else:
                    self._running[submission.name] = child
                    _log.info("study found", study=submission.name, process=child.process_id)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._round()
            except AutotuneError as error:  # the database is away; the next round tries again
                _log.warning("round broke off", error=str(error))
            self._woken.wait(self._settings.look_seconds)
            self._woken.clear()

    def _round(self) -> None:
        self._lock.keep()
        self._stop_some()
        for name, child in list(self._running.items()):
            if child.is_running():
                self._say_progress(name)
            else:
                self._end(name, child)
        free = self._settings.max_running - len(self._running)
        for submission in self._submissions.all(SubmissionState.QUEUED)[: max(0, free)]:
            self._start(submission)

    def _stop_some(self) -> None:
        for submission in self._submissions.all(SubmissionState.STOPPING):
            child = self._running.get(submission.name)
            if child is not None and submission.name not in self._stopping:
                self._stopping.add(submission.name)
                child.interrupt()
                _log.info("study is stopped", study=submission.name)

    def _start(self, submission: Submission) -> None:
        name = submission.name
        if not self._submissions.change(name, SubmissionState.QUEUED, SubmissionState.RUNNING):
            return  # it was taken back just now
        try:
            asked = definition(StudyFile.model_validate(submission.study), self._settings)
            child = self._children.start(name, asked, resume=submission.resume)
        except (AutotuneError, OSError, ValueError) as error:
            self._ended(name, 1, f"it cannot be started: {error}")
            return
        self._running[name] = child
        _log.info("study started", study=name, process=child.process_id)

    def _say_progress(self, name: str) -> None:
        look = self._watch.look(name)
        if look is None:
            return
        for event in events(self._looks.get(name, look), look):
            if event.kind == "trial":
                number, outcome = event.data["number"], event.data["outcome"] or "running"
                _log.info("trial", study=name, trial=number, outcome=outcome)
        self._looks[name] = look

    def _end(self, name: str, child: Child) -> None:
        self._say_progress(name)
        code = child.exit_code()
        # Ctrl-C while a search still starts may end it with any code.
        failed = code is not None and code not in _STOPPED and name not in self._stopping
        words = self._children.last_words(name) if failed else ""
        message = words or (f"its process ended with exit code {code}" if failed else "")
        self._ended(name, code, message)

    def _ended(self, name: str, code: int | None, message: str) -> None:
        ended = SubmissionState.ENDED
        for held in (SubmissionState.RUNNING, SubmissionState.STOPPING):
            if self._submissions.change(name, held, ended, code, message):
                break
        self._running.pop(name, None)
        self._looks.pop(name, None)
        self._stopping.discard(name)
        _log.info("study ended", study=name, exit_code=code, message=message)
