"""Texts are long enough, readable, different, and fit the model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from autotune.config import WorkloadFile
from autotune.errors import InputError
from autotune.messages import ModelRef
from autotune.workload.text import build_workload, needed_tokens

PARAGRAPH = "Here is a paragraph that is surely long enough not to coincide by chance. "


@pytest.fixture
def model(tmp_path: Path) -> ModelRef:
    """Without a tokenizer: a byte counts as a token."""
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 512}', encoding="utf-8")
    return ModelRef(path=str(tmp_path), name="m", task="causal-lm", fingerprint="0" * 64)


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def small(**changes: Any) -> WorkloadFile:
    sizes = {"prompt_tokens": 16, "new_tokens": 4, "evaluation_positions": 64}
    return WorkloadFile.model_validate({**sizes, "evaluation_window_tokens": 32, **changes})


def refusal(given: WorkloadFile, model: ModelRef) -> str:
    with pytest.raises(InputError) as caught:
        build_workload(given, model, 0)
    return str(caught.value)


def test_shipped_texts_are_long_enough_for_the_defaults(model: ModelRef) -> None:
    workload = build_workload(WorkloadFile(), model, 7)
    assert Path(workload.evaluation_text).name == "evaluation.txt"
    assert Path(workload.calibration_text).name == "calibration.txt"
    assert workload.evaluation_sha256 != workload.calibration_sha256
    assert (workload.seed, workload.evaluation_window_tokens) == (7, 256)


def test_own_text_is_hashed(model: ModelRef, tmp_path: Path) -> None:
    text = "Grüße — 文字 " * 50
    path = write(tmp_path / "own.txt", text)
    workload = build_workload(small(evaluation_text=path), model, 0)
    assert workload.evaluation_text == path
    assert workload.evaluation_sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_own_text_is_found_relative_to_the_working_directory(
    model: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "own.txt", "word " * 200)
    monkeypatch.chdir(tmp_path)
    assert build_workload(small(evaluation_text="own.txt"), model, 0).evaluation_text == path


@pytest.mark.parametrize("kind", ["evaluation_text", "calibration_text"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; give a file of ordinary text"),
        (b" \n\t\n", "is empty; give a file of ordinary text"),
        (b"latin \xe9", "as UTF-8"),
        (b"\xff\xfeU\0T\0F\0", "as UTF-8"),
    ],
)
def test_unreadable_text(
    model: ModelRef, tmp_path: Path, kind: str, content: bytes, words: str
) -> None:
    path = write(tmp_path / "bad.txt", content)
    found = refusal(small(**{kind: path}), model)
    assert words in found
    assert path in found


def test_missing_text(model: ModelRef, tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        assert f"cannot read the text file {path}" in refusal(
            small(evaluation_text=str(path)), model
        )


def test_evaluation_text_too_short(model: ModelRef, tmp_path: Path) -> None:
    given = small(evaluation_text=write(tmp_path / "short.txt", "x" * 95))
    assert needed_tokens(given, given.evaluation_window_tokens) == 96
    assert "is too short: 95 tokens, 96 needed" in refusal(given, model)
    write(tmp_path / "short.txt", "x" * 96)
    assert build_workload(given, model, 0).evaluation_positions == 64


def test_evaluation_text_holds_at_least_a_prompt(model: ModelRef, tmp_path: Path) -> None:
    given = small(prompt_tokens=200, evaluation_text=write(tmp_path / "short.txt", "x" * 199))
    assert "199 tokens, 200 needed" in refusal(given, model)


def test_calibration_text_too_short(model: ModelRef, tmp_path: Path) -> None:
    given = small(calibration_text=write(tmp_path / "short.txt", "x" * 15))
    assert "is too short: 15 tokens, 256 needed" in refusal(given, model)


@pytest.mark.parametrize(
    ("positions", "window", "needed"),
    [(4096, 256, 17 * 256), (255, 256, 256), (256, 256, 512), (64, 2, 128)],
)
def test_needed_tokens_score_all_but_the_first_of_each_window(
    positions: int, window: int, needed: int
) -> None:
    given = small(evaluation_positions=positions, evaluation_window_tokens=window)
    assert needed_tokens(given, window) == needed


def test_shared_paragraphs_are_refused(model: ModelRef, tmp_path: Path) -> None:
    shared = PARAGRAPH.strip()
    wrapped = shared.replace(" is ", "\nis ", 1)  # the same but for its line breaks
    evaluation = write(tmp_path / "e.txt", f"{'first ' * 60}\n\n{shared}\n\n{'second ' * 40}")
    calibration = write(tmp_path / "c.txt", f"{'third ' * 60}\n\n{wrapped}\n")
    words = refusal(small(evaluation_text=evaluation, calibration_text=calibration), model)
    assert "share 1 paragraphs (the first: 'Here is a paragraph" in words


def test_shared_short_lines_are_no_leak(model: ModelRef, tmp_path: Path) -> None:
    evaluation = write(tmp_path / "e.txt", f"Chapter one\n\n{'first ' * 60}")
    calibration = write(tmp_path / "c.txt", f"Chapter one\n\n{'third ' * 60}")
    given = small(evaluation_text=evaluation, calibration_text=calibration)
    assert build_workload(given, model, 0)


def test_one_file_for_both_is_refused(model: ModelRef, tmp_path: Path) -> None:
    path = write(tmp_path / "e.txt", PARAGRAPH * 20)
    words = refusal(small(evaluation_text=path, calibration_text=path), model)
    assert "accuracy would be measured on text that plugins were fitted to" in words


def test_prompt_and_new_tokens_must_fit_the_positions(model: ModelRef) -> None:
    assert build_workload(small(prompt_tokens=508, new_tokens=4), model, 0)
    words = refusal(small(prompt_tokens=509, new_tokens=4), model)
    assert "prompt_tokens + new_tokens = 513 is more than the 512 positions" in words


def test_encoder_generates_nothing(model: ModelRef) -> None:
    encoder = model.model_copy(update={"task": "feature-extraction"})
    assert build_workload(small(prompt_tokens=512, new_tokens=99), encoder, 0)
    assert "prompt_tokens = 513 is more than" in refusal(small(prompt_tokens=513), encoder)


def test_evaluation_window_is_cut_to_the_positions(model: ModelRef) -> None:
    workload = build_workload(small(evaluation_window_tokens=4096), model, 0)
    assert workload.evaluation_window_tokens == 512


def configure(model: ModelRef, **config: Any) -> None:
    Path(model.path, "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize("key", ["max_position_embeddings", "n_positions", "max_sequence_length"])
def test_positions_by_any_of_their_names(model: ModelRef, key: str) -> None:
    configure(model, **{key: 40})
    assert build_workload(small(prompt_tokens=36, new_tokens=4), model, 0)
    assert "= 41 is more than the 40 positions" in refusal(
        small(prompt_tokens=37, new_tokens=4), model
    )
    workload = build_workload(small(evaluation_window_tokens=256), model, 0)
    assert workload.evaluation_window_tokens == 40


@pytest.mark.parametrize("positions", ["32", 32.5, None, [32], {"a": 32}])
def test_positions_that_are_no_integer_are_passed_over(model: ModelRef, positions: object) -> None:
    configure(model, max_position_embeddings=positions)
    assert build_workload(small(), model, 0).evaluation_window_tokens == 32
    assert build_workload(small(prompt_tokens=100), model, 0)
    configure(model, max_position_embeddings=positions, n_positions=50)
    assert "more than the 50 positions" in refusal(small(prompt_tokens=100), model)


def test_needed_tokens_are_those_of_the_window_that_is_cut(
    model: ModelRef, tmp_path: Path
) -> None:
    configure(model, max_position_embeddings=32)
    text = tmp_path / "short.txt"
    given = small(evaluation_window_tokens=4096, evaluation_text=write(text, "x" * 95))
    assert "is too short: 95 tokens, 96 needed" in refusal(given, model)
    write(text, "x" * 96)
    assert build_workload(given, model, 0).evaluation_window_tokens == 32


def test_no_limit_in_the_config_is_no_limit(model: ModelRef) -> None:
    Path(model.path, "config.json").write_text("{}", encoding="utf-8")
    assert build_workload(small(new_tokens=131_072), model, 0)


def words_tokenizer(directory: Path) -> None:
    """One token per word, but cut at ten, as tokenizer files often say."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(10)
    tokenizer.save(str(directory / "tokenizer.json"))


def test_tokens_are_counted_by_the_models_own_tokenizer(model: ModelRef, tmp_path: Path) -> None:
    words_tokenizer(tmp_path)
    given = small(evaluation_text=write(tmp_path / "e.txt", "word " * 95))
    assert "95 tokens, 96 needed" in refusal(given, model)


def test_broken_tokenizer(model: ModelRef, tmp_path: Path) -> None:
    write(tmp_path / "tokenizer.json", json.dumps({"version": "1.0"}))
    assert "tokenizer.json is broken" in refusal(small(), model)
