"""docker-compose.yml, the images and the Kubernetes example: what can be seen without Docker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, s in SERVICES.items() if s["image"].startswith("autotune:")]
DOCKERFILES = sorted((ROOT / "workers/deploy").glob("*.Dockerfile"))


def test_every_part_is_there() -> None:
    parts = "redis postgres migrate api dashboard worker-cpu worker-gpu"
    assert set(SERVICES) == set(parts.split())
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OURS)))
def test_other_peoples_images_have_a_version(name: str) -> None:
    assert re.search(r":\d+\.\d+", SERVICES[name]["image"])


@pytest.mark.parametrize("name", OURS)
def test_own_containers_have_no_more_rights_than_they_need(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_secrets_come_from_the_environment_and_must_be_given() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{(\w+)[^}]*\}", text))
    assert used == {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    assert all(given == "set it" for given in re.findall(r"\$\{\w+:\?([^}]*)\}", text))


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate", "worker-cpu", "worker-gpu"}))
def test_what_answers_is_asked_whether_it_does(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]


def test_nothing_is_open_to_other_machines() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_dashboard_is_ours() -> None:
    """The plain one changes and deletes studies for whoever reaches it."""
    assert "entrypoint" not in SERVICES["dashboard"]
    command = SERVICES["dashboard"]["command"]
    assert command[:3] == ["dashboard", "--host", "0.0.0.0"]
    assert "--allow-remote" in command


def test_named_volumes_are_declared() -> None:
    used = {v.split(":")[0] for service in SERVICES.values() for v in service.get("volumes", [])}
    assert {name for name in used if not name.startswith(".")} == set(COMPOSE["volumes"])


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_images_copy_what_exists_and_do_not_run_as_root(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    copied = [words for line in lines if line.startswith("COPY ") for words in line.split()[1:-1]]
    assert copied
    assert all((ROOT / path).exists() for path in copied)
    assert "USER 10001" in lines
    assert re.match(r"FROM \S+:\d+\.\d+", next(line for line in lines if line.startswith("FROM")))


def test_kubernetes_example_binds_one_device_to_each_worker() -> None:
    text = (ROOT / "workers/deploy/kubernetes.yaml").read_text(encoding="utf-8")
    (deployment,) = yaml.safe_load_all(text)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["worker", "--device", "cuda"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {e["name"] for e in container["env"]} == {
        "AUTOTUNE_BROKER_URL",
        "AUTOTUNE_DATABASE_URL",
    }


def _docker_compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "compose", *arguments],
        env={**os.environ, "POSTGRES_PASSWORD": "a", "REDIS_PASSWORD": "b"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_docker_reads_the_compose_file() -> None:
    if shutil.which("docker") is None or _docker_compose("version").returncode != 0:
        pytest.skip("docker compose is not installed")
    done = _docker_compose("--file", str(ROOT / "docker-compose.yml"), "config", "--quiet")
    assert done.returncode == 0, done.stderr
