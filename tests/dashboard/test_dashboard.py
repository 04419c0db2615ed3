"""The real server on real studies: what it answers, what it refuses, what it leaves alone."""

from __future__ import annotations

import csv
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.cli.__main__ import main
from autotune.dashboard import files, notes
from autotune.dashboard.app import dress_trial
from autotune.dashboard.view import StudyView
from autotune.explain import explain
from autotune.messages import TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.report.csv_file import csv_text
from autotune.report.summary import StudySummary
from autotune.store.records import StudyState
from laboratory import Lab

Serve = Callable[..., AbstractContextManager[Any]]


def by_number(detail: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {trial["number"]: trial for trial in detail["trials"]}


def attributes(trial: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: one["value"] for one in trial["user_attrs"]}


def test_study_is_shown_in_our_words(lab: Lab, serve: Serve) -> None:
    with serve("first", "--database", lab.url, "--output", lab.folder / "studies") as page:
        detail = page.detail()
        listed = json.loads(page.ask("/api/studies")[1])["study_summaries"]
    assert [study["study_name"] for study in listed] == ["first"]
    assert detail["objective_names"] == [
        "output tokens/s \N{UPWARDS ARROW}",
        "weights (KiB) \N{DOWNWARDS ARROW}",
        "KLD (nat) \N{DOWNWARDS ARROW}",
    ]
    trials, stored = by_number(detail), {t.number: t for t in lab.trials()}
    assert trials.keys() == stored.keys()
    assert trials[0]["values"] == pytest.approx([100.0, 1e6 / 1024, 0.0])
    assert "### Picks" in detail["note"]["body"]
    assert "fastest" in detail["note"]["body"]
    ids = {plot["id"] for plot in detail["plotly_graph_objects"]}
    assert {"effects", "parallel", "progress"} < ids
    assert "front-output_tokens_per_second-weights_bytes" in ids
    assert all(json.loads(p["graph_object"])["layout"] for p in detail["plotly_graph_objects"])


def test_every_trial_says_its_recipe_and_how_it_ended(page: Any, sqlite_lab: Lab) -> None:
    trials = by_number(page.detail())
    for stored in sqlite_lab.trials():
        shown, result = trials[stored.number], stored.result
        assert result is not None
        told = attributes(shown)
        assert told["outcome"] == result.outcome.value
        assert shown["note"]["body"].startswith(f"## #{stored.number} ")
        assert told["recipe"].replace("_", "\\_") in shown["note"]["body"]


def test_failed_trials_have_no_made_up_values(page: Any, sqlite_lab: Lab) -> None:
    told = {t.number: t for t in sqlite_lab.told()}
    failed = [t for t in page.detail()["trials"] if attributes(t)["outcome"] == "crashed"]
    assert failed
    for trial in failed:
        assert told[trial["number"]].values  # what Optuna has of it
        assert trial["state"] == "Fail"
        assert "values" not in trial
        assert "Why it failed" in trial["note"]["body"]


def test_constraints_are_marked(page: Any) -> None:
    outcomes = {}
    for trial in page.detail()["trials"]:
        if trial["state"] == "Complete":
            outside = any(value > 0 for value in trial["constraints"])
            outcomes.setdefault(attributes(trial)["outcome"], set()).add(outside)
    assert outcomes == {"ok": {False}, "infeasible": {True}}


def test_best_trials_are_our_front(page: Any, sqlite_lab: Lab) -> None:
    summary = StudySummary.of(sqlite_lab.study(), sqlite_lab.trials())
    best = {trial["number"] for trial in page.detail()["best_trials"]}
    assert best == summary.front_numbers
    assert 0 < len(best) < len(summary.points)


def test_what_a_log_says_stays_text(page: Any) -> None:
    trial = next(t for t in page.detail()["trials"] if t["state"] == "Fail")
    block = re.search(r"```\n(.*?)\n```", trial["note"]["body"], re.DOTALL)
    assert block
    assert "<img src=x onerror=alert(1)>" in block[1]
    assert "<img" not in trial["note"]["body"].replace(block[0], "")


def test_files_can_be_downloaded(page: Any, sqlite_lab: Lab) -> None:
    detail = page.detail()
    study = {one["filename"]: one["artifact_id"] for one in detail["artifacts"]}
    status, report = page.ask(f"/artifacts/{page.study_id}/{study['report.html']}")
    assert (status, report[:15].lower()) == (200, b"<!doctype html>")
    _, front = page.ask(f"/artifacts/{page.study_id}/{study['front.json']}")
    assert json.loads(front)["study"] == "first"
    trial = by_number(detail)[3]
    files = {one["filename"]: one["artifact_id"] for one in trial["artifacts"]}
    where = f"/artifacts/{page.study_id}/{trial['trial_id']}"
    _, blocks = page.ask(f"{where}/{files['blocks.json']}")
    stored = sqlite_lab.trials()[3].result
    assert stored is not None
    assert json.loads(blocks)["runs"] == [[pair.model_dump() for pair in stored.blocks]]
    assert page.ask(f"{where}/{files['bench.log']}") == (200, b"log of trial 3\n")
    assert page.ask(f"{where}/{b'nothing'.hex()}")[0] == 404
    assert page.ask(f"{where}/abc")[0] == 404


def test_no_file_outside_the_studies_is_given(sqlite_lab: Lab, tmp_path: Path) -> None:
    trial = sqlite_lab.trials()[0]
    assert files.trial_file(trial, "bench.log", sqlite_lab.folder / "studies")
    assert files.trial_file(trial, "bench.log", tmp_path) is None
    secret = sqlite_lab.folder / "studies" / "secret.txt"
    secret.write_text("secret")
    assert trial.result is not None
    of_secret = trial.result.model_copy(update={"log": str(secret)})
    named = trial.model_copy(update={"result": of_secret})
    assert files.trial_file(named, "bench.log", sqlite_lab.folder / "studies") is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/trials/1/user-attrs"),
        ("POST", "/api/artifacts/1/1"),
        ("DELETE", "/api/artifacts/1/1/ab"),
        ("PUT", "/api/studies/1/preference_feedback_component"),
    ],
)
def test_nothing_can_be_changed(page: Any, sqlite_lab: Lab, method: str, path: str) -> None:
    before = sqlite_lab.told()
    status, body = page.ask(path, method, {"study_name": "x", "state": "Fail"})
    assert status == 403
    assert "changes and deletes nothing" in json.loads(body)["reason"]
    assert sqlite_lab.told() == before


def test_other_names_of_this_machine_are_refused(page: Any) -> None:
    status, body = page.ask("/api/studies", Host="evil.example:80")
    assert status == 403
    assert b"evil.example" in body


def test_search_goes_on_after_people_wrote_notes(lab: Lab, serve: Serve) -> None:
    before = {t.number: t.result for t in lab.trials()}
    with serve("first", "--database", lab.url) as page:
        where, shown = f"/api/studies/{page.study_id}", page.detail()
        trial = shown["trials"][1]
        for note, path in (
            (shown["note"], f"{where}/note"),
            (trial["note"], f"{where}/{trial['trial_id']}/note"),
        ):
            written = {"body": note["body"] + "deploy *this*", "version": note["version"] + 1}
            assert page.ask(path, "PUT", written)[0] == 204
            assert page.ask(path, "PUT", written)[0] == 409  # somebody else was faster
        plan = lab.plan(budget={"trials": 30}, constraints=["kld_mean_nats<=0.1"])
        lab.search(plan, resume=True)
        again = page.detail()
    after = {t.number: t.result for t in lab.trials()}
    assert len(after) == 30
    assert {n: after[n] for n in before} == before
    assert lab.agreed()
    for note in (again["note"], again["trials"][1]["note"]):
        assert note["body"].endswith(notes.YOURS + "deploy *this*")
        assert note["body"].count(notes.YOURS.strip()) == 1


def test_trial_that_was_not_looked_at_yet_is_shown_as_running(sqlite_lab: Lab) -> None:
    """The page asks again for what runs, and for nothing else."""
    trials = sqlite_lab.trials()
    view = StudyView(sqlite_lab.study(), trials[:-1])
    shown = {"number": len(trials) - 1, "state": "Complete", "values": [1.0, 2.0, 3.0]}
    dress_trial(shown, view, sqlite_lab.folder)
    assert shown == {"number": len(trials) - 1, "state": "Running"}


@pytest.mark.parametrize("state", ["Running", "Fail"])
def test_trial_that_optuna_has_no_values_of_stays_as_it_is(sqlite_lab: Lab, state: str) -> None:
    """Its tables were read a moment earlier, or another program has added it."""
    view = StudyView(sqlite_lab.study(), sqlite_lab.trials())
    for number in (2, 999):
        shown = {"number": number, "state": state, "note": {"body": ""}, "artifacts": []}
        dress_trial(shown, view, sqlite_lab.folder)
        assert shown["state"] == state
        assert "values" not in shown


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_all_studies_are_listed_until_it_is_ended(
    sqlite_lab: Lab, serve: Serve, how: signal.Signals
) -> None:
    with serve("--database", sqlite_lab.url) as page:
        assert page.url.endswith("/dashboard")
        listed = json.loads(page.ask("/api/studies")[1])["study_summaries"]
        page.process.send_signal(how)
        said, _ = page.process.communicate(timeout=60)
    assert [study["study_name"] for study in listed] == ["first"]
    assert (page.process.returncode, said) == (0, "dashboard: ended\n")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says before it ends with exit code 2."""
    sys.argv = ["autotune", "dashboard", *arguments]
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_port_in_use_is_said(sqlite_lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(capsys, "--database", sqlite_lab.url, "--port", port)
    assert f"cannot listen on port {port} of 127.0.0.1: Address already in use" in said
    assert "--port" in said


def test_unknown_study_names_those_there_are(
    sqlite_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "frist", "--database", sqlite_lab.url)
    assert "no study named 'frist'; did you mean 'first'?" in said


def test_missing_database_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no database" in refused(capsys, "--output", str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.org"])
def test_other_hosts_need_a_word(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "--host", host)
    assert "no login" in said
    assert "--allow-remote" in said


def test_missing_library_is_named(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['optuna_dashboard'] = None\n"
    call = "from autotune.cli.__main__ import main; sys.argv[1:] = ['dashboard']; main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden + call],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'autotune[dashboard]'" in done.stderr


def test_made_up_values_leave_by_no_other_route(page: Any, sqlite_lab: Lab) -> None:
    summary = StudySummary.of(sqlite_lab.study(), sqlite_lab.trials())
    where = f"/api/studies/{page.study_id}"
    status, table = page.ask(f"/csv/{page.study_id}")
    assert (status, table.decode()) == (200, csv_text(summary))
    _, two = page.ask(f"/csv/{page.study_id}?trial_ids=1,3")
    assert [row["trial"] for row in csv.DictReader(two.decode().splitlines())] == ["1", "3"]
    _, body = page.ask(f"{where}/param_importances")
    shares = explain(summary.study, summary.trials).shares
    for name, found in zip(
        summary.study.objectives, json.loads(body)["param_importances"], strict=True
    ):
        told = {one["name"]: one["importance"] for one in found}
        assert told == {s.plugin: s.share for s in shares if s.metric == name and not s.param}
    status, body = page.ask(f"{where}/plot/contour")
    assert status == 403
    assert "made-up values" in json.loads(body)["reason"]


def test_best_trial_of_one_objective_is_ours(tmp_path: Path, serve: Serve) -> None:
    """Optuna's own would be the fastest, which is outside the constraint."""
    lab = Lab(tmp_path)
    plan = replace(
        lab.plan(budget={"trials": 24}, constraints=["kld_mean_nats<=0.1"]),
        objectives=("output_tokens_per_second",),
    )

    def run(spec: TrialSpec) -> TrialResult:
        found = lab.measure(spec)
        outside = (found.metrics["kld_mean_nats"].value or 0.0) > 0.1
        return found.model_copy(update={"outcome": Outcome.INFEASIBLE}) if outside else found

    lab.search(plan, run)
    summary = StudySummary.of(lab.study(), lab.trials())
    speed = "output_tokens_per_second"
    fastest = max(summary.points, key=lambda point: point.metrics[speed].value or 0.0)
    assert not fastest.feasible
    with serve("first", "--database", lab.url) as page:
        for after in (0, 24):
            best = page.detail(after)["best_trials"]
            assert {trial["number"] for trial in best} == summary.front_numbers
            assert all(attributes(trial)["front"] == "yes" for trial in best)


def test_trials_name_no_picks_while_these_may_change(sqlite_lab: Lab) -> None:
    """An open page keeps what it was told of a trial when that ended."""
    begun = sqlite_lab.study().model_copy(update={"state": StudyState.RUNNING})
    view = StudyView(begun, sqlite_lab.trials())
    assert view.summary.front_numbers
    for number in view.trials:
        assert not {"front", "picks"} & view.attributes(number).keys()
        assert "on the front" not in view.trial_note(number)
        assert "pick:" not in view.trial_note(number)
    assert "### Picks" in view.note
    assert "reload" in view.note
    ended = StudyView(sqlite_lab.study(), sqlite_lab.trials())
    named = {n for n in ended.trials if "front" in ended.attributes(n)}
    assert named == view.summary.front_numbers


def test_baseline_is_not_compared_with_itself(sqlite_lab: Lab) -> None:
    view = StudyView(sqlite_lab.study(), sqlite_lab.trials())
    assert "1.00\N{MULTIPLICATION SIGN}" not in view.trial_note(0)
    notes_of_others = [view.trial_note(number) for number in view.trials if number]
    assert any("\N{MULTIPLICATION SIGN}" in note for note in notes_of_others)


@pytest.mark.parametrize("options", [[], ["--allow-remote"]])
def test_other_kinds_of_addresses_are_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "--host", "::1", *options)
    assert "--host ::1: the dashboard listens on IPv4 only" in said
