"""``autotune plugins check`` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from rich.console import Console
from transformers import AutoTokenizer, BertConfig, BertModel

from autotune.cli.checked import checked_markdown, checked_table
from autotune.cli.plugins_check import _rounds
from autotune.config import build_study
from autotune.plugin import Trait
from autotune.registry import installed
from autotune.search.check import Tried, Verdict


@pytest.mark.slow
def test_values_are_tried_and_the_table_is_written(
    autotune: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    page = tmp_path / "plugins.md"
    arguments = ["precision", "speculative", "--model", tiny_model, "--markdown", page]
    arguments += ["--keep", tmp_path / "tried.jsonl", "--output", tmp_path, "--json"]
    done = autotune("plugins", "check", *arguments)
    tried = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert {one["plugin"] for one in tried} == {"precision", "speculative"}
    (narrow,) = [one for one in tried if one["params"] == {"dtype": "bfloat16"}]
    assert narrow["verdict"] == "ok"
    assert narrow["ratios"]["weights_bytes"] == pytest.approx(0.5, rel=0.01)
    assert 0 < narrow["accuracy"]["kld_mean_nats"] < 1
    text = page.read_text(encoding="utf-8")
    assert "| precision | bfloat16 | ok | 0.50 |" in text
    assert " cores; torch " in text.partition("\n")[0]
    again = autotune("plugins", "check", *arguments)
    assert json.loads(again.stdout) == tried
    assert "1 of " in done.stderr
    assert "1 of " not in again.stderr, "nothing is left to try"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_stops_it_while_it_waits_for_the_device_keeps_what_was_found(
    tiny_model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    page = tmp_path / "plugins.md"
    command = ["autotune", "plugins", "check", "precision", "--markdown", str(page)]
    command[0] = str(Path(sys.executable).with_name("autotune"))
    taken = FileLock(tmp_path / f"autotune-{os.getuid()}-device-cpu.lock")
    with (
        taken,
        subprocess.Popen(
            [*command, "--device", "cpu", "--model", str(tiny_model), "--output", str(tmp_path)],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stderr is not None
        said = iter(process.stderr.readline, "")
        waits = next(line for line in said if "waits for the device" in line)
        assert taken.lock_file in waits
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the checkpoint is already float32" in out
    assert "1 refused, stopped before the rest" in out
    text = page.read_text(encoding="utf-8")
    assert "stopped before the rest" in text.partition("\n")[0]
    assert "| precision | float32 | refused |" in text


def test_which_plugins_must_be_said(autotune: Callable[..., Any]) -> None:
    done = autotune("plugins", "check")
    assert done.returncode == 2
    assert "which plugins? Name some of adapters, allocator" in done.stderr
    assert autotune("plugins", "check", "batch", "--all").returncode == 2
    done = autotune("plugins", "check", "batch", "--markdown", "/proc/nowhere/page.md")
    assert (done.returncode, "the folder of --markdown" in done.stderr) == (2, True)
    done = autotune("plugins", "check", "batch", "--contract", "--pairs")
    assert (done.returncode, "measures nothing" in done.stderr) == (2, True)
    done = autotune("plugins", "check", "quantise")
    assert done.returncode == 2
    assert "did you mean 'quantize'?" in done.stderr


def test_contract_of_installed_plugins_is_checked_without_measuring(
    autotune: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    done = autotune("plugins", "check", "batch", "quantize", "--contract", "--model", tiny_model)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("keeps the contract") == 2
    assert not (tmp_path / "studies").exists()


def test_broken_contract_of_an_installed_plugin_fails_the_check(
    autotune: Callable[..., Any],
    install: Callable[[Path, Path], Path],
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "distribution"
    assert autotune("plugins", "new", "moody", "--directory", folder).returncode == 0
    plugin = folder / "autotune_moody" / "moody.py"
    text = plugin.read_text(encoding="utf-8")
    mood = "    def env(self, params):\n        return {'MOOD': 1}\n\n    def check("
    plugin.write_text(text.replace("    def check(", mood), encoding="utf-8")
    site = install(folder, tmp_path / "site")
    arguments = ["moody", "--contract", "--json", "--model", tiny_model]
    done = autotune("plugins", "check", *arguments, plugins=[site])
    assert done.returncode == 1, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["verdict"] == "failed"
    assert row["words"].startswith("breaks the contract: env is text: env(")


def test_what_a_library_says_is_shown_as_it_is() -> None:
    words = "[always] madvise never; cannot load [/usr/lib/x.so]"
    one = Tried("p", {"a": 1}, Verdict.FAILED, words)
    console = Console(width=300)
    with console.capture() as captured:
        console.print(checked_table([one]))
    assert words in captured.get()
    assert f"| p | a=1 | failed | {words} |" in checked_markdown([one])


def test_accuracy_is_told_by_the_metric_of_the_task() -> None:
    ratios, distance = {"weights_bytes": 0.25}, {"embedding_cosine_distance": 0.0123}
    one = Tried("p", {"a": 1}, Verdict.OK, ratios=ratios, accuracy=distance)
    other = Tried("p", {"a": 2}, Verdict.REFUSED, "no GPU")
    page = checked_markdown([one, other])
    assert "| plugin | values | here | weights | cosine distance |  |" in page
    assert "| p | a=1 | ok | 0.25 | 0.0123 |  |" in page
    assert "| p | a=2 | refused |  |  | no GPU |" in page


def test_plugins_that_live_of_traffic_are_tried_with_it() -> None:
    wanted = ["prefix_cache", "adapters", "batch"]
    plain, traffic, adapted = _rounds(installed(), wanted, "causal-lm", lambda: ("a", "b"))
    assert (plain[0], plain[2]) == (["batch"], {})
    assert not {"batching", "prefix_cache", "result_cache"} & plain[1].plugins.keys()
    assert traffic[0] == ["prefix_cache"]
    assert traffic[1].plugins.keys() == installed().plugins.keys() - {"adapters"}
    assert adapted[0] == ["adapters"]
    assert adapted[1] is installed()
    stated = build_study(
        {"model": "m", "workload": {"traffic": traffic[2]["workload.traffic"]}}, ""
    )
    assert stated.workload.traits == set(Trait) - {Trait.UNIFORM, Trait.ADAPTERS}
    assert adapted[2]["workload.traffic"]["adapters"] == ("a", "b")
    alike = _rounds(installed(), ["batch"], "causal-lm", tuple)
    assert [names for names, _, _ in alike] == [["batch"]]


def test_plugins_that_live_of_traffic_are_refused_where_the_model_has_none(
    run_main: Callable[..., tuple[int, str, str]], tiny_model: Path, tmp_path: Path
) -> None:
    bert = tmp_path / "bert"
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(bert)
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=1, **small)
    BertModel(config).save_pretrained(bert)
    code, out, _ = run_main("plugins", "check", "result_cache", "prefix_cache", "--model", bert)
    assert code == 0
    assert "2 refused" in out
