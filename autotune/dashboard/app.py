"""The application: optuna-dashboard, with our words, figures and files in its answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bottle
import optuna_dashboard

from autotune.dashboard import files, notes
from autotune.dashboard.adapt import known_front, refuse, replace_front, shown_trials, wrap
from autotune.dashboard.view import StudyView
from autotune.dashboard.views import Views
from autotune.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.storages import BaseStorage

_STUDY = "/api/studies/<study_id:int>"
_FILE = "<artifact_id:re:[0-9a-fA-F-]+>"
_NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note")
_READ_ONLY = (
    "this dashboard shows studies and takes notes; it changes and deletes nothing: a search that "
    "goes on relies on the record"
)

_OPTUNAS_PLOT = (
    "Optuna would draw this with made-up values for trials that failed; the study's own figures "
    "are of what was measured"
)


class NoFiles:
    """Where optuna-dashboard would keep files: ours are made when they are asked for."""

    def open_reader(self, artifact_id: str) -> Any:
        """Never asked: ``_Dashboard`` answers."""
        raise FileNotFoundError(artifact_id)

    def write(self, artifact_id: str, content_body: Any) -> None:
        """Never asked: uploads are refused."""
        raise PermissionError(_READ_ONLY)

    def remove(self, artifact_id: str) -> None:
        """Never asked: removals are refused."""
        raise PermissionError(_READ_ONLY)


def make_app(
    storage: BaseStorage, views: Views, logs: Path, hosts: frozenset[str] | None
) -> bottle.Bottle:
    """Makes the application. Of the database it changes nothing but what people write as notes.

    Args:
        storage: Optuna's tables in the studies' database.
        views: Of its studies.
        logs: The folder of the studies on this machine, for their logs.
        hosts: The names under which it may be asked; none: any.

    Raises:
        InputError: This version of optuna-dashboard cannot be adapted.
    """
    replace_front()
    app: bottle.Bottle = optuna_dashboard.wsgi(storage, artifact_store=NoFiles())
    app.add_hook("before_request", _gate(hosts))
    ours = _Dashboard(storage, views, logs)
    wrap(app, "GET", _STUDY, ours.study)
    wrap(app, "PUT", f"{_STUDY}/note", ours.save_note)
    wrap(app, "PUT", f"{_STUDY}/<trial_id:int>/note", ours.save_note)
    wrap(app, "GET", f"{_STUDY}/param_importances", ours.importances)
    wrap(app, "GET", f"{_STUDY}/plot/<plot_type>", ours.plot)
    wrap(app, "GET", "/csv/<study_id:int>", ours.csv)
    wrap(app, "GET", f"/artifacts/<study_id:int>/{_FILE}", ours.study_file)
    wrap(app, "GET", f"/artifacts/<study_id:int>/<trial_id:int>/{_FILE}", ours.trial_file)
    return app


def _gate(hosts: frozenset[str] | None) -> Callable[[], None]:
    def check() -> None:
        asked = bottle.request.environ
        name = re.sub(r":\d+$", "", asked.get("HTTP_HOST", ""))
        if hosts is not None and name not in hosts:
            # A page of another site may have had its name pointed here.
            raise refuse(403, f"this dashboard does not answer under the name {name!r}")
        method, path = asked["REQUEST_METHOD"], asked["PATH_INFO"]
        if method in ("GET", "HEAD") or (method == "PUT" and _NOTE.fullmatch(path)):
            return
        raise refuse(403, _READ_ONLY)

    return check


class _Dashboard:
    """What goes around the routes."""

    def __init__(self, storage: BaseStorage, views: Views, logs: Path) -> None:
        self._storage = storage
        self._views = views
        self._logs = logs

    def _view(self, study_id: int) -> StudyView | None:
        try:
            return self._views.find(self._storage.get_study_name_from_id(study_id))
        except KeyError:
            return None
        except StoreError as error:
            raise refuse(503, str(error)) from error

    def study(self, original: Callable[..., Any], study_id: int) -> Any:
        """A study with its trials."""
        view = self._view(study_id)
        if view is None:
            return original(study_id)
        with known_front(view.summary.front_numbers):
            detail = original(study_id)
        if isinstance(detail, dict) and "trials" in detail:
            if len(detail["directions"]) == 1:
                # Optuna's best one may be of made-up values, or outside a constraint.
                best = shown_trials(self._storage, study_id, view.summary.front_numbers)
                detail["best_trials"] = best
            _dress(detail, view, self._logs)
        return detail

    def importances(self, original: Callable[..., Any], study_id: int) -> Any:
        """Shares of variance, of what was measured: Optuna's would be of made-up values too."""
        view = self._view(study_id)
        return {"param_importances": view.importances} if view else original(study_id)

    def plot(self, original: Callable[..., Any], study_id: int, plot_type: str) -> Any:
        """Plots that Optuna draws of what it was told."""
        if self._view(study_id) is None:
            return original(study_id, plot_type)
        raise refuse(403, _OPTUNAS_PLOT)

    def csv(self, original: Callable[..., Any], study_id: int) -> Any:
        """The trials as a table, all or those that the page shows."""
        view, asked = self._view(study_id), bottle.request.query.get("trial_ids", "")
        if view is None or not re.fullmatch(r"[\d, ]*", asked):
            return original(study_id)
        numbers = {int(number) for number in re.findall(r"\d+", asked)}
        return _download("trials.csv", view.csv(numbers or view.trials.keys()))

    def save_note(self, original: Callable[..., Any], study_id: int, **trial: int) -> Any:
        """A note that a person has edited: what we wrote of it is not kept."""
        given = bottle.request.json
        if isinstance(given, dict) and isinstance(given.get("body"), str):
            given["body"] = notes.own(given["body"])
        return original(study_id, **trial)

    def study_file(self, original: Callable[..., Any], study_id: int, artifact_id: str) -> Any:
        """A file of a study."""
        view, name = self._view(study_id), files.name_of(artifact_id)
        text = files.study_file(view, name) if view else None
        return original(study_id, artifact_id) if text is None else _download(name, text)

    def trial_file(
        self, original: Callable[..., Any], study_id: int, trial_id: int, artifact_id: str
    ) -> Any:
        """A file of a trial."""
        view, name = self._view(study_id), files.name_of(artifact_id)
        trial = view.trials.get(self._number(trial_id)) if view else None
        text = files.trial_file(trial, name, self._logs) if trial else None
        if text is None:
            return original(study_id, trial_id, artifact_id)
        return _download(name, text)

    def _number(self, trial_id: int) -> int:
        try:
            return int(self._storage.get_trial(trial_id).number)
        except KeyError:
            return -1


def _dress(detail: dict[str, Any], view: StudyView, logs: Path) -> None:
    detail["objective_names"] = view.objective_names
    detail["plotly_graph_objects"] = [*view.plots, *detail["plotly_graph_objects"]]
    detail["artifacts"] = [*map(files.meta, files.STUDY_FILES), *detail["artifacts"]]
    _annotate(detail, view.note)
    for trial in (*detail["trials"], *detail["best_trials"]):
        dress_trial(trial, view, logs)
    named = [{"key": key, "sortable": False} for key in view.headings]
    detail["union_user_attrs"] = named


def dress_trial(trial: dict[str, Any], view: StudyView, logs: Path) -> None:
    """Puts our words into what optuna-dashboard says of a trial.

    Args:
        trial: Its answer; changed in place.
        view: Of the study.
        logs: The folder of the studies on this machine.
    """
    number, is_complete = trial["number"], trial["state"] == "Complete"
    if is_complete and not view.is_known(number):
        # The page asks again only for trials that run: it shall come back for our words.
        trial["state"] = "Running"
        trial.pop("values", None)
    elif is_complete and view.has_failed(number):
        trial["state"] = "Fail"
        trial.pop("values", None)
    elif is_complete:
        trial["values"] = view.values(number, trial["values"])
        trial["constraints"] = view.violations(number)
    if number in view.trials:
        _annotate(trial, view.trial_note(number))
        shown = view.attributes(number).items()
        trial["user_attrs"] = [{"key": key, "value": value} for key, value in shown]
        names = files.trial_files(view.trials[number], logs)
        trial["artifacts"] = [*map(files.meta, names), *trial["artifacts"]]


def _annotate(shown: dict[str, Any], ours: str) -> None:
    theirs = shown["note"]
    shown["note"] = {**theirs, "body": notes.with_own(ours, theirs["body"])}


def _download(name: str, text: str) -> bottle.HTTPResponse:
    """Never opened within the page's own origin."""
    return bottle.HTTPResponse(
        text.encode(),
        200,
        {
            "Content-Type": f"{files.mimetype(name)}; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
        },
    )
