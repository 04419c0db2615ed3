"""Everything that can be wrong is said before any work starts; nothing is written."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from autotune.cli.__main__ import EXIT_INPUT, main
from autotune.demo.adapters import write_adapters
from documentation import is_explained

TASKS = Path(__file__).parents[1] / "fixtures" / "tasks"
RunMain = Callable[..., tuple[int, str]]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunMain:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["autotune", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        code = int(ended.value.code or 0)
        assert code != EXIT_INPUT or is_explained(said), "docs/pages/troubleshooting.md lacks it"
        return code, said

    return call


def written(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--plugins", "batch", "--plugins", "precison"], "no plugin named 'precison'"),
        (["--plugins", "batch=7"], "it takes names, e.g. --plugins batch,compile"),
        (["--plugins", "precison"], "no plugin named 'precison'; did you mean 'precision'?"),
        (["--objective", "token_per_second"], "did you mean 'output_tokens_per_second'?"),
        (["--objective", "samples_per_second"], "not measured for causal-lm models"),
        (["--objective", "device_peak_process_bytes", "--device", "cpu"], "needs a GPU"),
        (["--objective", "model_flops_utilization"], "no aim; use a speed such as output_tokens"),
        (["--objective", "kld_self_floor_nats"], "not every trial has it; choose one of"),
        (["--constraint", "kld_mean_nats<0.1"], "expected metric<=number"),
        (["--constraint", "kld<=0.1"], "no metric named 'kld'; did you mean 'kld_mean_nats'?"),
        (
            ["--constraint", "kld_mean_nats<=0.1", "--constraint", "kld_mean_nats>=0.2"],
            "contradict each other",
        ),
        (["--trials", "0"], "--trials: Input should be greater than 0"),
        (["--minutes", "0"], "--minutes: Input should be greater than 0"),
        (["--name", "../escape"], "name: String should match pattern"),
        (["--device", "tpu"], "unknown device 'tpu'; allowed: auto, cpu, cuda, cuda:N"),
        (["--sampler", "magic"], "no sampler named 'magic'"),
        (["--task", "poetry"], "task: Input should be"),
        (["--prompt-tokens", "2000"], "positions that the model has"),
        (["--text", "missing.txt"], "cannot read the text file"),
        (["--task-file", "missing.yaml"], "cannot read the task file"),
        (["--task-file", TASKS / "moods.csv"], "for sequence-classification models; this is a"),
        (["--objective", "task_accuracy"], "not every trial has it; choose one of"),
        (["--output", "/proc/nowhere"], "the output folder /proc/nowhere cannot be written"),
    ],
)
def test_wrong_option_is_refused(
    run: RunMain, tiny_model: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, said = run("search", "--model", tiny_model, *arguments)
    assert code == 2
    assert words in said
    assert written(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("model: m\nconstrains: []", "no key named 'constrains'; did you mean 'constraints'?"),
        ("model: m\nplugins: {prune: {ratio: [0.95]}}", "no value of prune.ratio 0.95"),
        ("model: m\nplugins: {prune: {rato: [0.1]}}", "did you mean 'ratio'?"),
        ("model: m\nplugins: {prune: {method: [depht]}}", "did you mean 'depth'?"),
        ("model: [", "is not valid YAML"),
        ("model: m\nbudget: {trials: 3, trials: 9}", "the key trials is given twice"),
        ("just words", "must hold keys and values"),
        ("name: x", "model"),
        ("model: m\nmeasure: {min_pairs: 8, max_pairs: 6}", "max_pairs"),
        (
            "model: m\nplugins: [batch]\ntry_first: [{batch: {size: 4}}, {batch: {size: 0}}]",
            "try_first, recipe 2: no value of batch.size 0",
        ),
        (
            "model: m\nplugins: [batch]\ntry_first: [{prune: {ratio: 0.5}}]",
            "try_first, recipe 1: no plugin of this study named 'prune'; allowed: batch",
        ),
        *(
            (f"model: m\ntry_first: {given}", "is no list of recipes, each with one value for a")
            for given in ("batch", "{batch: {size: 8}}", "[batch]", "[{batch: {size: [1, 8]}}]")
        ),
    ],
)
def test_wrong_study_file_is_refused(
    run: RunMain, tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "study.yaml").write_text(content)
    code, said = run("search", "--study", "study.yaml")
    assert code == 2
    assert words in said
    assert written(tmp_path) == ["study.yaml"]


def test_wrong_adapters_are_refused(run: RunMain, tiny_model: Path, tmp_path: Path) -> None:
    weights = write_adapters(tiny_model, tmp_path, 1)[0] / "adapter_model.safetensors"
    content = "plugins: {batch: {size: [2]}}\nworkload: {traffic: {adapters: [%s, adapter_0]}}"
    (tmp_path / "study.yaml").write_text(content % "nothing")
    before = written(tmp_path)
    words = f"the adapter {tmp_path}/nothing has no adapter_config.json; expected a folder that"
    code, said = run("search", "--model", tiny_model, "--study", "study.yaml")
    assert code == 2
    assert words in said
    (tmp_path / "study.yaml").write_text(content % "adapter_0")
    assert "is given twice" in run("search", "--model", tiny_model, "--study", "study.yaml")[1]
    weights.unlink()
    code, said = run("search", "--model", tiny_model, "--study", "study.yaml")
    assert "has no adapter_model.safetensors; save the adapter with" in said
    assert written(tmp_path) == [name for name in before if not name.endswith(weights.name)]


def test_broken_models_are_refused(run: RunMain, tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "empty").mkdir()
    before = written(tmp_path)
    for model, words in {
        "broken": "is broken or cut short",
        "empty": "has no config.json",
        "absent/": "does not exist",
        "nobody/nothing": "the hub cannot be reached",
    }.items():
        code, said = run("search", "--model", model)
        assert code == 2
        assert words in said
    assert written(tmp_path) == before


@pytest.mark.parametrize(("content", "words"), [("", "is empty"), ("short", "is too short")])
def test_unusable_text_is_refused(
    run: RunMain, tiny_model: Path, tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "own.txt").write_text(content)
    code, said = run("search", "--model", tiny_model, "--text", "own.txt")
    assert code == 2
    assert words in said
    assert written(tmp_path) == ["own.txt"]


def test_unwritable_folder_is_refused_before_a_model_is_trained(run: RunMain) -> None:
    code, said = run("demo-model", "/proc/nowhere", "--size", "tiny")
    assert code == 2
    assert "the folder /proc cannot be written" in said


def test_unwritable_cache_is_refused(
    run: RunMain, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_CACHE_DIR", "/proc/nowhere")
    code, said = run("search", "--model", tiny_model)
    assert code == 2
    assert "AUTOTUNE_CACHE_DIR" in said
    assert written(tmp_path) == []


def test_database_of_another_version_is_refused(
    run: RunMain, tiny_model: Path, tmp_path: Path
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/other.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE autotune_alembic_version (version_num TEXT)"))
        connection.execute(text("INSERT INTO autotune_alembic_version VALUES ('from_2031')"))
    engine.dispose()
    code, said = run("search", "--model", tiny_model, "--database", "sqlite:///other.db")
    assert code == 2
    assert "from_2031" in said
    assert "upgrade autotune" in said
    assert not (tmp_path / "studies").exists()


def test_unknown_study_is_refused_with_the_nearest(run: RunMain, tmp_path: Path) -> None:
    code, said = run("pareto", "demo")
    assert code == 2
    assert "autotune search" in said
    assert written(tmp_path) == []


def test_unknown_plugin_is_refused_by_bench_and_show(run: RunMain, tiny_model: Path) -> None:
    assert "did you mean 'batch'?" in run("bench", "-m", tiny_model, "--set", "bach.size=2")[1]
    assert "expected plugin.param=value" in run("bench", "-m", tiny_model, "--set", "batch")[1]
    assert "did you mean 'prune'?" in run("plugins", "show", "prunes")[1]


def test_config_that_is_no_json_is_refused(run: RunMain, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text("{")
    code, said = run("search", "--model", "./m")
    assert code == 2
    assert "cannot be read as JSON" in said


def test_broken_tokenizer_is_refused(run: RunMain, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    (tmp_path / "m/tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    code, said = run("search", "--model", "./m")
    assert code == 2
    assert "tokenizer.json is broken" in said


def test_help_shows_an_example_for_every_command(
    run: RunMain, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command in (
        *("search", "baseline", "bench", "record", "studies", "pareto", "report"),
        *("demo-model", "plugins list", "plugins show", "metrics", "serve"),
        *("serve token create", "serve token list", "serve token revoke"),
    ):
        monkeypatch.setattr(sys, "argv", ["autotune", *command.split(), "--help"])
        with pytest.raises(SystemExit):
            main()
        assert f"Example: autotune {command}" in capsys.readouterr().out
    assert os.getcwd()
