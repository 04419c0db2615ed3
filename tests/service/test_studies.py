"""Studies through the API: submitted, watched, stopped, resumed, read; and services that die."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from autotune.report.front_file import FrontFile
from fleet_support.fleet import Fleet
from fleet_support.servers import PostgresServer, RedisServer, wait_for
from service_support.service import Service, events

MakeService = Callable[..., Service]
WriteStudy = Callable[..., Path]


def body(study: WriteStudy, **keys: Any) -> dict[str, Any]:
    """The quickest study, as a request's body."""
    given: dict[str, Any] = yaml.safe_load(study(model="tiny", **keys).read_text())
    return given


def status(client: httpx.Client, name: str) -> str:
    return str(client.get(f"/v1/studies/{name}").json()["status"])


@pytest.mark.slow
def test_study_outlives_its_service_is_stopped_and_read(
    make_service: MakeService, study: WriteStudy, tiny_model: Path, tmp_path: Path
) -> None:
    service = make_service("--model", f"tiny={tiny_model}")
    with service.client("submit") as client:
        asked = body(study, plugins={"batch": {}, "precision": {}}, budget={"trials": 40})
        submitted = client.post("/v1/studies", json=asked)
        assert submitted.status_code == 202, submitted.text
        assert submitted.headers["location"] == "/v1/studies/s"
        seen = list(takewhile(lambda event: event[0] != "phase", events(client, "s")))
        assert {"status", "state", "trial"} <= {kind for kind, _ in seen}
        search = _search_of(tmp_path)

        service.kill()
        assert search.is_running()
        service.start()
        assert status(client, "s") == "running"
        assert client.post("/v1/studies/s/resume").status_code == 409
        # However many trials have ended meanwhile.
        assert _come(events(client, "s"), {"status", "state", "phase", "result"})
        wait_for(lambda: _trials_logged(service), 120, "no trial that ended was logged")
        stopped = client.post("/v1/studies/s/stop")
        assert (stopped.status_code, stopped.json()["status"]) == (202, "stopping")
        assert list(events(client, "s"))[-1] == ("end", {"status": "interrupted"})
        # Whoever inherits it may leave its entry in the table.
        assert not search.is_running() or search.status() == psutil.STATUS_ZOMBIE

        _read(client)
    assert not any("libtorch" in m.path for m in psutil.Process(service.process.pid).memory_maps())
    assert {study for study, _ in _trials_logged(service)} == {"s"}


def _come(stream: Iterable[tuple[str, dict[str, Any]]], kinds: set[str]) -> bool:
    """Waits for an event of each kind, where "result" is a trial that ended well; False where the
    stream ends before."""
    waiting = set(kinds)
    for kind, data in stream:
        waiting.discard("result" if data.get("outcome") == "ok" else kind)
        if not waiting:
            return True
    return False


def _search_of(folder: Path) -> psutil.Process:
    file = str(folder / "studies/served/s/study.yaml")
    running = psutil.process_iter(["cmdline"])
    (found,) = [p for p in running if file in (p.info["cmdline"] or [])]
    return found


def _log(folder: Path) -> str:
    return (folder / "studies/served/s/search.log").read_text()


def _trials_logged(service: Service) -> set[tuple[str, int]]:
    return {(e["study"], e["trial"]) for e in service.logged() if e["event"] == "trial"}


def _read(client: httpx.Client) -> None:
    detail = client.get("/v1/studies/s").json()
    finished = detail["outcomes"]["ok"]
    assert finished >= 1
    assert {"fastest", "smallest"} <= set(detail["best"])
    front = FrontFile.model_validate(client.get("/v1/studies/s/front").json())
    written = FrontFile.model_validate(client.get("/v1/studies/s/artifacts/front.json").json())
    assert front.picks == written.picks
    report = client.get("/v1/studies/s/report")
    assert report.text.startswith("<!doctype html>")
    assert "sandbox" in report.headers["content-security-policy"]
    names = [one["name"] for one in client.get("/v1/studies/s/artifacts").json()]
    assert names == ["front.json", "report.html"]
    numbers = client.get("/metrics").text
    assert 'autotune_studies{state="interrupted"} 1.0' in numbers
    assert f'autotune_trials{{outcome="ok"}} {finished}.0' in numbers
    assert "autotune_queue_length 0.0" in numbers


@pytest.mark.slow
def test_study_on_workers_with_postgresql_goes_on_with_a_larger_budget(
    make_service: MakeService, study: WriteStudy, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis", password="hush") as redis, PostgresServer() as server:
        database = server.new_database()
        asked = body(study, plugins={"batch": {}}, budget={"trials": 3})
        fleet = Fleet(tmp_path, redis, database, tmp_path / "study.yaml")
        fleet.worker("quick")
        options = ("--model", f"tiny={tiny_model}", "--broker", redis.url)
        service = make_service(*options, database=database)
        try:
            fleet.wait_for_workers(1)
            with service.client("submit") as client:
                assert client.get("/readyz").json()["broker"] == "reachable"
                assert client.post("/v1/studies", json=asked).status_code == 202
                *_, end = events(client, "s")
                assert end == ("end", {"status": "finished"}), _log(tmp_path)
                assert client.get("/v1/studies/s").json()["outcomes"] == {"ok": 3}
                again = client.post("/v1/studies/s/resume", json={"trials": 5})
                assert again.status_code == 202
                *_, end = events(client, "s")
                assert end == ("end", {"status": "finished"}), _log(tmp_path)
                assert client.get("/v1/studies/s").json()["outcomes"] == {"ok": 5}
                assert f":{PostgresServer.PASSWORD}@" not in _log(tmp_path)
                redis.kill()
                assert client.get("/readyz").json()["error"]["code"] == "broker_unavailable"
                _lose_database(server, client)
        finally:
            fleet.close()
    assert "hush" not in service.log.read_text()


def _lose_database(server: PostgresServer, client: httpx.Client) -> None:
    server.kill()
    for path in ("/readyz", "/v1/studies", "/metrics"):
        away = client.get(path)
        assert away.status_code == 503
        assert away.json()["error"]["code"] == "database_unavailable"
        assert int(away.headers["retry-after"]) > 0
        assert PostgresServer.PASSWORD not in away.text
    assert client.get("/healthz").status_code == 200
    server.start()
    wait_for(lambda: client.get("/v1/studies").status_code == 200, 30, "the database is back")


def test_others_wait_and_one_that_fails_says_why(
    make_service: MakeService, study: WriteStudy
) -> None:
    service = make_service("--model", "tiny=nobody/nothing", "--max-queued", "2")
    with service.client("submit") as client:
        for name in ("one", "two"):
            assert client.post("/v1/studies", json=body(study) | {"name": name}).is_success
        shown = client.get("/v1/studies").json()
        assert {s["name"] for s in shown} == {"one", "two"}
        assert client.post("/v1/studies/two/stop").is_success
        *_, end = events(client, "one")
        assert end == ("end", {"status": "failed"})
        assert "the hub cannot be reached" in client.get("/v1/studies/one").json()["message"]
        *_, end = events(client, "two")
        assert end[1]["status"] in ("interrupted", "failed"), "whether it had begun"
        assert client.get("/v1/studies/one/front").status_code == 404
        again = client.post("/v1/studies", json=body(study) | {"name": "one"})
        assert again.status_code == 409
        assert "exists already" in again.json()["error"]["message"]
