"""The commands on a study in a database: export, load as an encoder, verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel
from typer.testing import CliRunner

import autotune
from autotune.cli.__main__ import app
from autotune.config import StudyFile
from autotune.errors import InputError
from autotune.execute.inline import InlineExecutor
from autotune.export.files import list_files, read_manifest
from autotune.export.loaded import LoadedModel
from autotune.messages import TrialResult, TrialSpec
from autotune.openai.server import run as serve
from autotune.search.loop import Search
from autotune.search.observer import Observer
from autotune.search.plan import make_plan
from autotune.search.register import register
from autotune.store.store import Store
from autotune.testing import fake_result

pytestmark = pytest.mark.slow


@pytest.fixture
def encoder(tiny_model: Path, tmp_path: Path) -> Path:
    """A random encoder with the tiny model's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=2, **sizes)
    BertModel(config).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.fixture
def searched(encoder: Path, tmp_path: Path) -> Path:
    """The output folder of a study whose own numbers are made up, so wide that all holds."""

    def measure(spec: TrialSpec) -> TrialResult:
        speed = {"samples_per_second": 10.0, "e2e_latency_seconds": 0.1}
        found = fake_result(spec, embedding_cosine_distance=0.001, **speed)
        wide = {"ci_low": 1e-9, "ci_high": 1e9}
        metrics = {name: m.model_copy(update=wide) for name, m in found.metrics.items()}
        return found.model_copy(update={"metrics": metrics})

    study = {
        "name": "s",
        "model": str(encoder),
        "device": "cpu",
        "plugins": {"quantize": {"scheme": ["int8_weight_only"]}},
        "objectives": ["samples_per_second", "embedding_cosine_distance"],
        "confirm": {"processes": 0},
        "workload": {"prompt_tokens": 8, "evaluation_positions": 64},
        "measure": {"block_seconds": 0.02, "max_pairs": 6, "warmup_blocks": 3},
    }
    url = f"sqlite:///{tmp_path}/autotune.db"
    plan = make_plan(StudyFile.model_validate(study), tmp_path, lambda *_: None)
    with Store.open(url) as store:
        register(plan, store, resume=False)
        Search(plan, store, url, lambda _: InlineExecutor(measure, 1), Observer()).run()
    return tmp_path


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_an_encoder_is_exported_loaded_and_verified(searched: Path, encoder: Path) -> None:
    folder = searched / "served"
    with pytest.raises(InputError, match="no pick named 'best'"):
        run("export", "s", folder, "--pick", "best", "--output", searched)
    assert not folder.exists()
    code, shown = run("export", "s", folder, "--pick", "1", "--output", searched)
    assert code == 0
    assert "its outputs differ from the trial's by at most 0\n" in shown
    assert not (folder / "serve.py").exists()

    check_loaded(folder, encoder)
    with pytest.raises(InputError, match="a feature-extraction model generates nothing"):
        serve(folder, "127.0.0.1", 0, None)
    code, shown = run("verify", folder, "--json")
    found = json.loads(shown)
    assert (code, found["holds"], found["alone"]) == (0, True, "")
    assert found["outputs"]["max_abs_difference"] == 0
    assert found["uncompared"] == ["embedding_cosine_distance"]
    assert "samples_per_second" in [row["metric"] for row in found["metrics"]]

    check_alone(folder, encoder)
    check_other_outputs(folder)


def check_loaded(folder: Path, encoder: Path) -> None:
    ids = [[5, 6, 7, 8], [9, 10, 11]]
    with autotune.load(folder) as model:
        assert isinstance(model, LoadedModel)
        found = model.outputs(ids)
        texts = model.outputs(["once upon a time"])
        with pytest.raises(InputError, match="generates nothing"):
            model.generate(ids)
        with pytest.raises(InputError, match="generates nothing"):
            model.stream(ids[0], 1, lambda _: None)
        with pytest.raises(InputError, match="give a list of texts"):
            model.outputs("hello")
        with pytest.raises(InputError, match="has embeddings"):
            model.logits(ids)
        with pytest.raises(InputError, match="no token 99999"):
            model.outputs([[99999]])
    assert [one.shape for one in (*found, *texts)] == [(32,)] * 3
    plain = AutoModel.from_pretrained(encoder).eval()
    with torch.inference_mode():
        mean = plain(torch.tensor(ids[:1]))[0].mean(1)[0].numpy()
    assert 0 < np.abs(found[0] - mean).max() < 0.1  # it is quantized


def check_alone(folder: Path, encoder: Path) -> None:
    with pytest.raises(InputError, match="--model elsewhere: the original model is not at"):
        run("verify", folder, "--model", "elsewhere")
    encoder.rename(encoder.with_name("moved"))
    code, shown = run("verify", folder)
    assert code == 0
    assert "measured alone, so that speeds are compared and no ratios" in shown


def check_other_outputs(folder: Path) -> None:
    """A directory whose stored outputs are others does not hold."""
    file = folder / "reference.safetensors"
    stored: dict[str, Any] = load_file(file)
    save_file({**stored, "values": stored["values"] + 1}, file)
    with pytest.raises(InputError, match="is not the file that was written"):
        run("verify", folder)
    files = list_files(folder)
    del files["export.json"]
    changed = read_manifest(folder).model_copy(update={"files": files})
    (folder / "export.json").write_text(changed.model_dump_json())
    code, shown = run("verify", folder)
    assert code == 1
    assert "outputs do not hold: they differ from the trial's by at most 1, " in shown
