"""Two real processes on gloo."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from autotune.bench.protocol import Operation
from autotune.config import StudyFile
from autotune.errors import BenchError
from autotune.execute.session import BenchSession
from autotune.messages import TrialSpec
from autotune.outcome import Outcome
from autotune.recipe import Recipe
from autotune.search.plan import make_plan
from autotune.search.single import make_spec

COMMAND = Path(__file__).parents[2] / "benchmarks" / "parallel_logits.py"


@pytest.fixture(scope="module")
def chaotic(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of four layers that hardly repeats a token: a wrong position shows."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("chaotic") / "model"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    sizes = {"num_hidden_layers": 4, "initializer_range": 0.2, "eos_token_id": None}
    torch.manual_seed(5)
    LlamaForCausalLM(LlamaConfig.from_pretrained(tiny_model, **sizes)).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["data", "tensor", "pipeline"])
def test_two_processes_compute_what_one_does(chaotic: Path, kind: str) -> None:
    command = [sys.executable, str(COMMAND), str(chaotic), f"{kind}:2", "--in-this-process"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["difference"] <= 1e-4
    assert found["same_tokens"]
    assert found["different_tokens"] > 30, "else a wrong cache could give the same ones"


MakeSpec = Callable[[str], TrialSpec]


@pytest.fixture
def spec_of(tiny_model: Path, tmp_path: Path) -> MakeSpec:
    """Trials whose blocks last until somebody ends them."""

    def make(kind: str) -> TrialSpec:
        workload = {"prompt_tokens": 16, "new_tokens": 4, "evaluation_positions": 256}
        study = StudyFile.model_validate(
            {
                "model": str(tiny_model),
                "device": "cpu",
                "workload": workload,
                "plugins": {"parallel": {}},
                "measure": {"block_seconds": 200},
            }
        )
        plan = make_plan(study, tmp_path, lambda *_: None)
        chosen = {"parallel": {"kind": kind}}
        return make_spec(plan, 1, Recipe.of(chosen, plan.registry.plugins))

    return make


def follower_of(session: BenchSession) -> psutil.Process:
    (found,) = psutil.Process(session.pid).children()
    assert session.pids == [session.pid, found.pid]
    return found


@pytest.mark.slow
def test_follower_killed_in_a_request_ends_the_trial_with_its_reason(
    spec_of: MakeSpec, tmp_path: Path
) -> None:
    spec = spec_of("tensor")
    with BenchSession(tmp_path / "log", {}) as session:
        reply = session.ask(Operation.PREPARE, 280, spec)
        follower = follower_of(session)
        assert any("work of a pass cannot be counted" in note for note in reply.notes)
        threading.Timer(1.0, follower.kill).start()  # the warm-up's first block lasts much longer
        with pytest.raises(BenchError, match=r"rank 1 of 2 was killed by SIGKILL") as died:
            session.ask(Operation.WARMUP, 100, spec)
        assert died.value.outcome is Outcome.CRASHED
        assert "last words" in died.value.explanation


@pytest.mark.slow
def test_killed_rank_0_leaves_no_orphan(spec_of: MakeSpec, tmp_path: Path) -> None:
    with BenchSession(tmp_path / "log", {}) as session:
        session.ask(Operation.PREPARE, 280, spec_of("data"))
        follower = follower_of(session)
        os.kill(session.pid, signal.SIGKILL)
        gone, _ = psutil.wait_procs([follower], timeout=30)
        assert gone == [follower]
