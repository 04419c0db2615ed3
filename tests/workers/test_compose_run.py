"""The service of docker-compose.yml, started by its own commands in its own environment."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from autotune.execute.fleet.broker import Broker
from fleet_support.compose import Compose
from fleet_support.servers import PostgresServer, RedisServer, free_port, wait_for

SECRET = "s3cret"


@pytest.mark.slow
def test_services_of_the_compose_file_run_a_study(
    postgres: PostgresServer, tiny_model: Path, study: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "redis").mkdir()
    port = free_port()
    own_database = postgres.new_database().split("@")[1]
    with RedisServer(tmp_path / "redis", password=SECRET) as redis:
        compose = Compose(
            tmp_path,
            {"POSTGRES_PASSWORD": PostgresServer.PASSWORD, "REDIS_PASSWORD": SECRET},
            {
                "postgres:5432/autotune": own_database,
                "redis:6379": f"127.0.0.1:{redis.port}",
                "8080": str(port),
                "demo-tiny=demo-tiny": f"demo-tiny={tiny_model}",
            },
        )
        migrated = compose.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        token = compose.run("api", "serve", "token", "create", "me", "--scope", "submit")
        assert token.returncode == 0, token.stderr
        log = tmp_path / "log"
        with log.open("a") as output:
            processes = [compose.start(name, output) for name in ("api", "worker-cpu")]
            try:
                wait_for(lambda: compose.is_well("api"), 60, "the API is well")
                with closing(Broker(redis.url)) as broker:
                    wait_for(broker.workers, 60, "the worker is up")
                asked = yaml.safe_load(study(model="demo-tiny", plugins={"batch": {}}).read_text())
                asked |= {"budget": {"trials": 1}}
                front = _run(f"http://127.0.0.1:{port}/v1", token.stdout.strip(), asked)
                assert front["baseline"]["metrics"], log.read_text()
                for process in processes:
                    process.send_signal(signal.SIGTERM)
                assert [process.wait(30) for process in processes] == [0, 0], log.read_text()
            finally:
                for process in processes:
                    process.kill()
                    process.wait()


def _run(url: str, token: str, study: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        submitted = client.post("/studies", json=study)
        assert submitted.status_code == 202, submitted.text
        ended = ("finished", "failed", "interrupted")

        def status() -> str:
            return str(client.get("/studies/s").json()["status"])

        wait_for(lambda: status() in ended, 240, "the study has ended")
        assert status() == "finished", client.get("/studies/s").text
        found: dict[str, Any] = client.get("/studies/s/front").json()
        return found
