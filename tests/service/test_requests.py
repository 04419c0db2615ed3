"""Every request is answered, and none that should not be is fulfilled."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from autotune.store import Store, StudyState
from fleet_support.servers import wait_for
from service_support.service import Service

MakeService = Callable[..., Service]
STUDY = {"name": "x", "model": "absent"}
FILES = ("/etc/passwd", "../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1/x", "C:\\x")


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client("admin") as made:
        yield made


def error(answer: httpx.Response) -> dict[str, Any]:
    assert list(answer.json()) == ["error"]
    found: dict[str, Any] = answer.json()["error"]
    assert found["code"]
    assert found["message"]
    return found


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic YTpi", "Bearer autotune_"])
@pytest.mark.parametrize("path", ["/v1/studies", "/metrics", "/nowhere"])
def test_without_a_token_nothing_is_told(service: Service, header: str, path: str) -> None:
    headers = {"Authorization": header} if header else {}
    answer = httpx.get(service.url + path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="autotune"')
    assert error(answer)["code"] == "unauthorized"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/openapi.json"])
def test_health_needs_no_token(service: Service, path: str) -> None:
    answer = httpx.get(service.url + path)
    assert answer.status_code == 200
    assert answer.headers["x-request-id"]


def test_reader_may_not_submit_stop_or_resume(service: Service) -> None:
    with service.client("read") as reader:
        assert reader.get("/v1/studies").status_code == 200
        for path in ("", "/x/stop", "/x/resume"):
            answer = reader.post(f"/v1/studies{path}", json=STUDY if not path else None)
            assert answer.status_code == 403
            assert error(answer)["allowed"] == ["submit", "admin"]
            assert 'scope="submit"' in answer.headers["www-authenticate"]


def test_submitter_may_not_touch_what_others_submitted(service: Service) -> None:
    with service.client("submit", "first") as first, service.client("submit", "second") as second:
        assert first.post("/v1/studies", json={**STUDY, "name": "mine"}).status_code == 202
        for action in ("stop", "resume"):
            answer = second.post(f"/v1/studies/mine/{action}")
            assert answer.status_code == 403
            assert error(answer)["allowed"] == ["admin"]
        assert first.post("/v1/studies/mine/stop").status_code == 202


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"model": "absnt"}, "no model named 'absnt'; did you mean 'absent'?"),
        ({"constrains": []}, "no key named 'constrains'; did you mean 'constraints'?"),
        ({"plugins": {"precison": {}}}, "no plugin named 'precison'; did you mean 'precision'?"),
        ({"plugins": {"prune": {"rato": [1]}}}, "did you mean 'ratio'?"),
        ({"objectives": ["kld"]}, "did you mean 'kld_mean_nats'?"),
        ({"constraints": ["kld_mean_nats<0.1"]}, "expected metric<=number"),
        ({"budget": {"trials": 0}}, "budget.trials: Input should be greater than 0"),
        ({"device": "tpu"}, "unknown device 'tpu'; allowed: auto, cpu, cuda, cuda:N"),
        ({"try_first": [{"batch": {"size": 0}}]}, "try_first, recipe 1: no value of batch.size"),
        ({"name": "\ud800"}, "name"),
        ({"plugins": {"\ud800": {}}}, "plugin"),
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"allow_pickle": True}, "allow_pickle"),
        ({"workload": {"traffic": {"adapters": ["/etc"]}}}, "workload.traffic.adapters"),
        ({"allow_power_changes": True}, "allow_power_changes"),
    ],
)
def test_wrong_study_is_refused_in_the_words_of_the_command_line(
    client: httpx.Client, keys: dict[str, Any], words: str
) -> None:
    content = json.dumps({**STUDY, **keys}).encode("ascii")
    answer = client.post(
        "/v1/studies", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert words in error(answer)["message"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "key", ["name", "model", "evaluation_text", "calibration_text", "task_files", "plugins"]
)
def test_no_key_of_a_study_names_a_file(client: httpx.Client, key: str, file: str) -> None:
    given_key: dict[str, Any] = {key: {file: {}} if key == "plugins" else file}
    if key.endswith(("text", "files")):
        given_key = {"workload": {key: [file] if key == "task_files" else file}}
    answer = client.post("/v1/studies", json={**STUDY, **given_key})
    assert answer.status_code == 422
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/studies/../../../etc/passwd",
        "/v1/studies/..%2f..%2f..%2fetc%2fpasswd",
        "/v1/studies/%2e%2e/artifacts/front.json",
        "/v1/studies/known/artifacts/..%2f..%2fa.db",
        "/v1/studies/known/artifacts/study.yaml",
        "/v1/studies/known/artifacts/search.log",
        "/v1/studies/known/artifacts/%2fetc%2fpasswd",
        "/v1/studies/known%00/artifacts/front.json",
        "/v1/studies/known/artifacts/front.json%00",
        "/v1/studies/" + "a" * 300,
        "//etc/passwd",
        "/v1/../a.db",
    ],
)
def test_no_path_leaves_the_fixed_list(service: Service, path: str) -> None:
    connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=30)
    headers = {"Authorization": f"Bearer {service.token('admin')}"}
    connection.request("GET", path, headers=headers)  # httpx would tidy the path up
    answer = connection.getresponse()
    assert answer.status in (404, 422)
    assert "error" in json.loads(answer.read())
    connection.close()


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b"\xff\xfe", b"[" * 5000, b"null", b"[]", b'"x"', b'{"seed": ' + b"9" * 5000],
)
def test_malformed_body_is_refused(client: httpx.Client, content: bytes) -> None:
    answer = client.post(
        "/v1/studies", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    error(answer)


def test_body_of_another_type_is_refused(client: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = client.post(
            "/v1/studies", content=json.dumps(STUDY), headers={"content-type": kind}
        )
        assert answer.status_code == 422
        assert "application/json" in error(answer)["message"]


def test_numbers_that_json_has_not_are_refused(client: httpx.Client) -> None:
    for value in ("NaN", "Infinity", "1e999"):
        text = f'{{"name": "x", "model": "absent", "budget": {{"minutes": {value}}}}}'
        answer = client.post(
            "/v1/studies", content=text, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 422


@pytest.mark.parametrize("chunked", [False, True])
def test_large_body_is_refused(client: httpx.Client, chunked: bool) -> None:
    parts = [b"x" * 10_000] * 3
    content: Any = iter(parts) if chunked else b"".join(parts)
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/studies", content=content, headers=headers)
    assert answer.status_code == 413
    assert error(answer)["code"] == "body_too_large"


def test_study_that_is_not_there_cannot_be_stopped_or_resumed(service: Service) -> None:
    with service.client("submit") as client:
        for action in ("stop", "resume"):
            answer = client.post(f"/v1/studies/nothing/{action}")
            assert answer.status_code == 404
            assert error(answer)["code"] == "not_found"


def test_study_from_a_command_line_is_for_administrators(
    service: Service, client: httpx.Client
) -> None:
    with Store.open(service.database) as store:
        store.create_study("elsewhere", {"model": "/models/x"}, ["weights_bytes"], [], {})
    assert client.get("/v1/studies/elsewhere").json()["status"] == "interrupted"
    with service.client("submit") as submitter:
        assert submitter.post("/v1/studies/elsewhere/resume").status_code == 403
    assert error(client.post("/v1/studies/elsewhere/resume"))["allowed"] == ["absent"]
    assert "from a command line" in error(client.post("/v1/studies/elsewhere/stop"))["message"]


def test_wrong_method_and_unknown_path_have_the_same_shape(client: httpx.Client) -> None:
    assert error(client.delete("/v1/studies"))["code"] == "method_not_allowed"
    assert error(client.get("/v1/nothing"))["code"] == "not_found"
    assert "no study named 'nothing'" in error(client.get("/v1/studies/nothing"))["message"]
    assert client.get("/v1/models").json() == ["absent"]


def test_too_many_requests_wait_and_say_for_how_long(make_service: MakeService) -> None:
    service = make_service("--requests-per-second", "0.01", "--burst", "3")
    with service.client("read") as client, service.client("read", "other") as other:
        codes = [client.get("/v1/models").status_code for _ in range(5)]
        assert codes == [200] * 3 + [429] * 2
        limited = client.get("/v1/models")
        assert int(limited.headers["retry-after"]) > 1
        assert error(limited)["code"] == "too_many_requests"
        assert other.get("/v1/models").status_code == 200, "each token has its own"
        wrong = [httpx.get(f"{service.url}/v1/models").status_code for _ in range(4)]
        assert wrong == [401] * 3 + [429]
        assert httpx.get(f"{service.url}/healthz").status_code == 200


def test_log_is_json_with_request_ids_and_never_a_token(service: Service) -> None:
    with service.client("read") as client:
        asked = client.get("/v1/models").headers["x-request-id"]
    # The line is written once the answer is sent.
    wait_for(lambda: asked in service.log.read_text(), 30, "the request is logged")
    (entry,) = [e for e in service.logged() if e.get("request") == asked]
    assert (entry["path"], entry["status"], entry["token"]) == ("/v1/models", 200, "read")
    secret = service.token("read").rpartition("_")[2]
    assert secret not in service.log.read_text()


def test_no_input_makes_the_service_fail(service: Service) -> None:
    with Store.open(service.database) as store:
        store.create_study("known", {}, ["weights_bytes"], [], {})
        store.update_study("known", state=StudyState.FINISHED)
    headers = {"Authorization": f"Bearer {service.token('admin')}"}
    described = httpx.get(f"{service.url}/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(described)
    counts: Counter[str] = Counter()
    for result in schema.get_all_operations():
        _ask(result.ok(), service.url, headers, counts)
    print(f"{counts.total()} requests: {dict(sorted(counts.items()))}")
    assert counts.total() > 100
    assert not [status for status in counts if status.startswith("5")]


def _ask(operation: Any, url: str, headers: dict[str, str], counts: Counter[str]) -> None:
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        _ask_in(mode, operation, url, headers, counts)


def _ask_in(
    mode: GenerationMode, operation: Any, url: str, headers: dict[str, str], counts: Counter[str]
) -> None:
    @settings(
        max_examples=10,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        names = [None, "known"] if "name" in (case.path_parameters or {}) else [None]
        for name in names:
            if name is not None:
                case.path_parameters["name"] = name
            answer = case.call(base_url=url, headers=headers)
            counts[str(answer.status_code)] += 1
            assert answer.status_code < 500, (case, answer.text)

    try:
        ask()
    except Unsatisfiable:  # there is no wrong way to ask this
        assert mode is GenerationMode.NEGATIVE
