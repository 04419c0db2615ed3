"""What is changed in optuna-dashboard's application, and the checks that it can be changed so.

It is a bottle application whose routes answer with plain data; ours go around them. One function
has to be replaced: its front of more than two objectives compares all trials with each other in
Python, in every request, and counts trials that break a constraint.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import bottle

from autotune.errors import InputError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

KNOWN = "0.21"
"""The version of optuna-dashboard that this was written for."""

Around = Callable[..., Any]
"""Called with what it goes around and that one's arguments."""

_FRONT = "get_pareto_front_trials"
_SHOWN = "serialize_frozen_trial"
_front: ContextVar[frozenset[int] | None] = ContextVar("front", default=None)
"""Trial numbers of the front of the study that this request is about; none for a foreign one."""


def wrap(app: bottle.Bottle, method: str, rule: str, around: Around) -> None:
    """Puts a function around one of the application's routes.

    Args:
        app: The application.
        method: ``GET`` and so on.
        rule: The route as optuna-dashboard declares it.
        around: Called in its place, with it as the first argument.

    Raises:
        InputError: There is no such route.
    """
    found = [route for route in app.routes if (route.method, route.rule) == (method, rule)]
    if len(found) != 1:
        raise InputError(_unknown_version(f"the route {method} {rule}"))
    found[0].callback = partial(around, found[0].callback)
    found[0].reset()


def replace_front() -> None:
    """Has fronts looked up where they are known (see ``known_front``). For this process, once.

    Raises:
        InputError: optuna-dashboard has no such function.
    """
    module: Any = importlib.import_module("optuna_dashboard._app")
    original = _function(module, _FRONT)
    if getattr(original, "func", None) is not _front_trials:
        setattr(module, _FRONT, partial(_front_trials, original))


@contextmanager
def known_front(numbers: Collection[int]) -> Iterator[None]:
    """While this lasts, in this thread, the front is these trials.

    Args:
        numbers: Of the trials.
    """
    token = _front.set(frozenset(numbers))
    try:
        yield
    finally:
        _front.reset(token)


def shown_trials(
    storage: BaseStorage, study_id: int, numbers: Collection[int]
) -> list[dict[str, Any]]:
    """Trials as optuna-dashboard answers with them.

    Args:
        storage: Optuna's tables.
        study_id: Optuna's, of the study.
        numbers: Of the trials.

    Raises:
        InputError: optuna-dashboard has no such function.
    """
    module: Any = importlib.import_module("optuna_dashboard._serializer")
    serialize = _function(module, _SHOWN)
    told = storage.get_study_system_attrs(study_id)
    trials = storage.get_all_trials(study_id, deepcopy=False)
    return [serialize(study_id, trial, told) for trial in trials if trial.number in numbers]


def _front_trials(
    original: Callable[..., list[Any]], trials: Sequence[Any], directions: Sequence[Any]
) -> list[Any]:
    numbers = _front.get()
    if numbers is None:
        return original(trials=trials, directions=directions)
    return [trial for trial in trials if trial.number in numbers]


def _function(module: Any, name: str) -> Any:
    found = getattr(module, name, None)
    if found is None:
        raise InputError(_unknown_version(f"the function {name}"))
    return found


def _unknown_version(missing: str) -> str:
    import optuna_dashboard

    return (
        f"optuna-dashboard {optuna_dashboard.__version__} cannot be adapted: {missing} is not "
        f"there; pip install 'optuna-dashboard=={KNOWN}.*'"
    )


def refuse(status: int, reason: str) -> bottle.HTTPResponse:
    """An answer that the page shows as a message.

    Args:
        status: Of HTTP.
        reason: For a person.
    """
    body = json.dumps({"reason": reason})
    return bottle.HTTPResponse(body, status, {"Content-Type": "application/json"})
