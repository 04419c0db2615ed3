"""What a request may change: submit, stop, resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.config import StudyFile, build_study
from autotune.errors import InputError
from autotune.service.access import check_owner
from autotune.service.door import admitted, model_path
from autotune.service.errors import ApiError, not_found
from autotune.service.settings import ServiceSettings
from autotune.service.supervisor import Supervisor
from autotune.store.store import Store
from autotune.store.submissions import Submission, Submissions, SubmissionState
from autotune.store.tokens import Token


class Actions:
    """Writes into the queue; the supervisor carries it out."""

    def __init__(self, settings: ServiceSettings, store: Store, supervisor: Supervisor) -> None:
        self._settings = settings
        self._store = store
        self._submissions = Submissions(store)
        self._supervisor = supervisor

    def submit(self, study: StudyFile, token: Token) -> str:
        """Queues a new study and returns its name.

        Raises:
            ApiError: It asks for what is not allowed, its name is taken, or the queue is full.
            InputError: An unknown plugin, param or value.
        """
        study = admitted(study, self._settings)
        self._check_room()
        try:
            self._submissions.add(study.name, token.name, study.model_dump(mode="json"))
        except InputError as error:
            raise _taken(str(error)) from error
        self._supervisor.wake()
        return study.name

    def resume(self, name: str, token: Token, budget: Mapping[str, Any]) -> None:
        """Queues a study that was stopped, failed or finished.

        Args:
            name: Of the study.
            token: Who asks.
            budget: Keys of its budget that change.

        Raises:
            ApiError: There is none, somebody else began it, it runs, or the queue is full.
        """
        submission = self._owned(name, token)
        study = self._as_submitted(submission) if submission else self._as_begun_elsewhere(name)
        changed = study.budget.model_copy(update=budget)
        study = study.model_copy(update={"budget": changed})
        self._check_room()
        owner = submission.token if submission else token.name
        if not self._submissions.resume(name, owner, study.model_dump(mode="json")):
            raise ApiError(409, "conflict", f"study {name!r} waits or runs already")
        self._supervisor.wake()

    def stop(self, name: str, token: Token) -> None:
        """Stops a study as Ctrl-C does, or takes it out of the queue. Idempotent.

        Raises:
            ApiError: There is none, or it is not this service's to stop.
        """
        if self._owned(name, token) is None:
            raise _not_ours(name)
        states = SubmissionState
        if not self._submissions.change(name, states.QUEUED, states.ENDED):
            self._submissions.change(name, states.RUNNING, states.STOPPING)
        self._supervisor.wake()

    def _owned(self, name: str, token: Token) -> Submission | None:
        """What was submitted under that name; None for a study from a command line."""
        submission = self._submissions.find(name)
        if submission is None and self._store.find_study(name) is None:
            raise not_found(f"no study named {name!r}; GET /v1/studies lists them")
        check_owner(token, submission, name)
        return submission

    def _as_submitted(self, submission: Submission) -> StudyFile:
        study = build_study(submission.study, "the stored study")
        model_path(study, self._settings)
        return study

    def _as_begun_elsewhere(self, name: str) -> StudyFile:
        """The study file of a study from a command line, if its model is one of this server's."""
        record = self._store.study(name)
        known = {k: v for k, v in record.definition.items() if k in StudyFile.model_fields}
        names = {path: model for model, path in self._settings.models.items()}
        model = names.get(str(known.get("model")))
        if model is None:
            raise ApiError(
                409,
                "conflict",
                f"the model of study {name!r} is none of this server's models",
                allowed=sorted(self._settings.models),
                hint="go on with it where it was begun, by autotune search --resume",
            )
        return build_study({**known, "model": model, "name": name}, "the stored study")

    def _check_room(self) -> None:
        waiting = self._submissions.count(SubmissionState.QUEUED)
        if waiting >= self._settings.max_queued:
            raise ApiError(
                429,
                "queue_full",
                f"{waiting} studies wait already",
                hint="stop one of them, or come back later",
                headers={"Retry-After": "60"},
            )


def _taken(message: str) -> ApiError:
    return ApiError(409, "conflict", message, hint="resume it, or choose another name")


def _not_ours(name: str) -> ApiError:
    return ApiError(
        409,
        "conflict",
        f"study {name!r} was begun from a command line",
        hint="stop it there, with Ctrl-C",
    )
