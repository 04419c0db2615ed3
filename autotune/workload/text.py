"""The texts that accuracy is scored on and that plugins may look at."""

from __future__ import annotations

import hashlib
import importlib.resources
from pathlib import Path

from autotune.config import WorkloadFile
from autotune.errors import InputError
from autotune.messages import ModelRef, Workload
from autotune.traffic import Traffic
from autotune.workload.adapters import read_adapters


def build_workload(given: WorkloadFile, model: ModelRef, seed: int) -> Workload:
    """Finds the texts, checks that there is enough of them, and hashes them.

    Raises:
        InputError: A file is missing, not UTF-8, too short, or both are the same text; an adapter
            does not fit the model.
    """
    if given.traffic and model.task != "causal-lm":
        raise InputError(f"workload.traffic is for causal-lm models, this one is {model.task}")
    (evaluation, held_out), (calibration, seen) = read_texts(given)
    adapters = read_adapters(given.traffic.adapters if given.traffic else (), model)
    if adapters and given.task_files:
        raise InputError(
            "workload.task_files are answered by the model itself, and workload.traffic.adapters "
            "has it serve adapters: leave one of them out"
        )
    limit = _check_lengths(given, model)
    window = min(given.evaluation_window_tokens, limit)
    needed = needed_tokens(given, window)
    if given.traffic:
        _check_turns(given, given.traffic, window)
    _check_size(evaluation, held_out, needed, model)
    _check_size(calibration, seen, given.prompt_tokens * given.calibration_sequences, model)
    return Workload(
        prompt_tokens=given.prompt_tokens,
        new_tokens=given.new_tokens,
        evaluation_text=str(evaluation),
        evaluation_sha256=_sha256(held_out),
        calibration_text=str(calibration),
        calibration_sha256=_sha256(seen),
        evaluation_positions=given.evaluation_positions,
        evaluation_window_tokens=window,
        calibration_sequences=given.calibration_sequences,
        seed=seed,
        traffic=given.traffic,
        adapters=adapters,
    )


def read_texts(given: WorkloadFile) -> tuple[tuple[Path, str], tuple[Path, str]]:
    """The evaluation and the calibration text with their files.

    Raises:
        InputError: A file is missing, not UTF-8 or empty, or they share paragraphs.
    """
    evaluation = _file(given.evaluation_text, "evaluation")
    calibration = _file(given.calibration_text, "calibration")
    held_out, seen = _read(evaluation), _read(calibration)
    shared = _paragraphs(held_out) & _paragraphs(seen)
    if shared:
        raise InputError(
            f"calibration text {calibration} and evaluation text {evaluation} share "
            f"{len(shared)} paragraphs (the first: {min(shared)[:60]!r}); accuracy would be "
            "measured on text that plugins were fitted to: give different texts"
        )
    return (evaluation, held_out), (calibration, seen)


def needed_tokens(given: WorkloadFile, window: int) -> int:
    """Tokens of evaluation text that a study needs: each window scores all but its first."""
    windows = window_count(given, window)
    if (traffic := given.traffic) is None:
        return max(windows * window, given.prompt_tokens)
    _, longest = traffic.prompt_range(given.prompt_tokens)
    return max(windows * window, longest + traffic.requests)  # each begins at another token


def window_count(given: WorkloadFile, window: int) -> int:
    """How many windows of the evaluation text hold the positions to score."""
    return -(-given.evaluation_positions // (window - 1))


def _file(given: str | None, kind: str) -> Path:
    if given is not None:
        return Path(given).expanduser().resolve()
    shipped = importlib.resources.files("autotune.workload") / "texts" / f"{kind}.txt"
    return Path(str(shipped))


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the text file {path} as UTF-8: {error}") from error
    if not text.strip():
        raise InputError(f"the text file {path} is empty; give a file of ordinary text")
    return text


def _paragraphs(text: str) -> set[str]:
    """Hashing-free comparison of paragraphs long enough not to coincide by chance."""
    blocks = (" ".join(block.split()) for block in text.split("\n\n"))
    return {block for block in blocks if len(block) >= 40}


def _check_lengths(given: WorkloadFile, model: ModelRef) -> int:
    from autotune.workload.model import max_positions

    limit = max_positions(Path(model.path)) or 1 << 30
    generates = model.task == "causal-lm"
    prompt, new = given.prompt_tokens, given.new_tokens
    if given.traffic:
        prompt, new = given.traffic.prompt_range(prompt)[1], given.traffic.new_range(new)[1]
    wanted = prompt + (new if generates else 0)
    if wanted > limit:
        what = "prompt_tokens + new_tokens" if generates else "prompt_tokens"
        raise InputError(
            f"{what} = {wanted} is more than the {limit} positions that the model has; "
            "lower them in the study's workload"
        )
    return limit


def _check_turns(given: WorkloadFile, traffic: Traffic, window: int) -> None:
    """Each adapter is scored on a window and asked for at least once."""
    adapters, windows = len(traffic.adapters), window_count(given, window)
    if windows < adapters:
        raise InputError(
            f"workload.traffic.adapters: {windows} windows of {window} tokens for {adapters} "
            "adapters; raise workload.evaluation_positions or lower "
            "workload.evaluation_window_tokens"
        )
    if (fresh := traffic.requests - traffic.repeats) < adapters:
        raise InputError(
            f"workload.traffic.requests: {fresh} different ones for {adapters} adapters; raise it"
        )


def _check_size(path: Path, text: str, needed: int, model: ModelRef) -> None:
    tokens = _count_tokens(text, model)
    if tokens < needed:
        raise InputError(
            f"the text file {path} is too short: {tokens} tokens, {needed} needed; give a longer "
            "text or lower workload.evaluation_positions"
        )


def _count_tokens(text: str, model: ModelRef) -> int:
    """Tokens by the model's own fast tokenizer; else bytes, which no tokenizer exceeds by far."""
    file = Path(model.path) / "tokenizer.json"
    if not file.is_file():
        return len(text.encode())
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception for a file that it cannot read
        raise InputError(f"{file} is broken: {error}; copy or download it again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
