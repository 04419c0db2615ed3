"""Token ids of prompts, evaluation windows and calibration text: the same for every recipe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autotune.bench.texts import text_requests
from autotune.bench.tokenizer import PromptTokenizer
from autotune.engine import Batch, Request, TextRequest
from autotune.errors import InputError
from autotune.messages import ModelRef, Workload

PROMPTS = 64
"""Different prompts; a larger batch repeats them."""

_TRAFFIC, _NEW, _TEXT = "traffic", "traffic_new_tokens", "traffic_prompt_tokens"

POSITIONS_PER_TEXT = 16
"""An encoder gives one value for a text, whatever its length: 4,096 positions are 256 texts."""


@dataclass(frozen=True)
class Tokens:
    """Everything a recipe is run on, on the device."""

    prompts: Batch
    """``[64, prompt_tokens]``, from the evaluation text."""
    evaluation: Batch
    """``[windows, tokens]``, from the evaluation text."""
    calibration: tuple[Batch, ...]
    """Batches of ``[8, prompt_tokens]``, from the calibration text."""
    traffic: tuple[Request | TextRequest, ...] = ()
    """The requests of a workload that has traffic, from the evaluation text."""


def load_tokens(model: ModelRef, workload: Workload, device: torch.device) -> Tokens:
    """Tokenizes the workload's texts.

    Raises:
        InputError: A text is too short for this model's tokenizer.
    """
    if workload.tokens_file:
        return read_tokens(Path(workload.tokens_file), device, model)
    tokenizer = PromptTokenizer(model)
    cutter = _Cutter(tokenizer, device)
    texts = {path: Path(path).read_text(encoding="utf-8") for path in _paths(workload)}
    cut = cutter.cut_windows if model.task == "causal-lm" else cutter.cut_texts
    evaluation = texts[workload.evaluation_text]
    calibration = cut(
        texts[workload.calibration_text], workload.prompt_tokens, workload.calibration_sequences
    )
    return Tokens(
        prompts=cut(evaluation, workload.prompt_tokens, PROMPTS),
        evaluation=_evaluation(cut, evaluation, model.task, workload),
        calibration=tuple(split(calibration, 8)),
        traffic=_traffic(cutter, tokenizer, evaluation, workload),
    )


def save_tokens(tokens: Tokens, file: Path) -> None:
    """Writes token ids for ``read_tokens``."""
    from safetensors.torch import save_file

    batches = {"prompts": tokens.prompts, "evaluation": tokens.evaluation}
    batches |= {f"calibration.{i}": batch for i, batch in enumerate(tokens.calibration)}
    found = {f"{k}.{name}": t for k, batch in batches.items() for name, t in batch.items()}
    found |= {f"{_TRAFFIC}.{i}": _stored(one) for i, one in enumerate(tokens.traffic)}
    found[_NEW] = torch.tensor([one.new_tokens for one in tokens.traffic])
    if texts := [one for one in tokens.traffic if isinstance(one, TextRequest)]:
        found[_TEXT] = torch.tensor([one.prompt_tokens for one in texts])
    save_file({name: tensor.cpu().clone() for name, tensor in found.items()}, file)


def _stored(request: Request | TextRequest) -> torch.Tensor:
    """Token ids, or the bytes of a text."""
    if isinstance(request, TextRequest):
        return torch.tensor(list(request.text.encode()), dtype=torch.uint8)
    return request.prompt


def read_tokens(file: Path, device: torch.device, model: ModelRef) -> Tokens:
    """What ``save_tokens`` has written.

    Args:
        file: Where it is.
        device: Where batches go.
        model: Whose tokenizer makes tokens of requests that come as text.

    Raises:
        InputError: The file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(file)
        new_tokens = found.pop(_NEW).tolist()
        # Requests that repeat another hold the same tensor, by which caches know them.
        seen: dict[tuple[int, ...], torch.Tensor] = {}
        lengths = found.pop(_TEXT, None)
        prompts = [found.pop(f"{_TRAFFIC}.{i}") for i in range(len(new_tokens))]
        same = [seen.setdefault(tuple(prompt.tolist()), prompt) for prompt in prompts]
        traffic: Iterable[Request | TextRequest] = map(Request, same, new_tokens)
        if lengths is not None:
            ids = PromptTokenizer(model).ids
            every = zip(prompts, lengths.tolist(), new_tokens, strict=True)
            traffic = (TextRequest(bytes(t.tolist()).decode(), n, new, ids) for t, n, new in every)
        batches: dict[str, dict[str, torch.Tensor]] = {}
        for name in sorted(found):
            batch, _, argument = name.rpartition(".")
            batches.setdefault(batch, {})[argument] = found[name].to(device)
        return Tokens(
            prompts=batches.pop("prompts"),
            evaluation=batches.pop("evaluation"),
            calibration=tuple(batches[f"calibration.{i}"] for i in range(len(batches))),
            traffic=tuple(traffic),
        )
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{file} is damaged: {error}; export the trial again") from error


def _paths(workload: Workload) -> tuple[str, str]:
    return workload.evaluation_text, workload.calibration_text


def _evaluation(cut: Any, text: str, task: str, workload: Workload) -> Batch:
    """Non-overlapping windows that hold the positions to score.

    A causal window scores all tokens but its first; an encoder gives one value for each text.
    """
    if task != "causal-lm":
        count = max(2, workload.evaluation_positions // POSITIONS_PER_TEXT)
        return dict(cut(text, workload.prompt_tokens, count))
    window = workload.evaluation_window_tokens
    windows = dict(cut(text, window, -(-workload.evaluation_positions // (window - 1))))
    if adapters := len(workload.adapters):
        # Those of one adapter side by side: what is scored at once is then mostly of one.
        numbers = torch.arange(len(windows["input_ids"])) % adapters
        order = numbers.argsort(stable=True).to(windows["input_ids"].device)
        windows["adapter"] = numbers.to(order.device)
        windows = {name: tensor[order] for name, tensor in windows.items()}
    return windows


def _traffic(
    cutter: _Cutter, tokenizer: PromptTokenizer, text: str, workload: Workload
) -> tuple[Request | TextRequest, ...]:
    """The requests in the order in which they come; one that repeats another is the same."""
    if (traffic := workload.traffic) is None:
        return ()
    drawn = traffic.draw(workload.prompt_tokens, workload.new_tokens, workload.seed)
    if traffic.as_text:
        return text_requests(drawn, traffic.shared_prefix_tokens, text, tokenizer)
    longest = max(one.prompt_tokens for one in drawn)
    ids = cutter.cut_windows(text, longest, traffic.requests - traffic.repeats)["input_ids"].cpu()
    ids[:, : traffic.shared_prefix_tokens] = ids[0, : traffic.shared_prefix_tokens].clone()
    made = {
        one: Request(ids[one.text, : one.prompt_tokens], one.new_tokens, one.adapter)
        for one in drawn
    }
    return tuple(made[one] for one in drawn)


def split(batch: Batch, size: int) -> list[Batch]:
    """Cuts a batch into batches of at most ``size`` sequences."""
    count = len(batch["input_ids"])
    return [
        {name: tensor[i : i + size] for name, tensor in batch.items()}
        for i in range(0, count, size)
    ]


def take(batch: Batch, count: int) -> Batch:
    """The first ``count`` sequences, starting over where there are too few."""
    available = len(batch["input_ids"])
    index = torch.arange(count) % available
    return {name: tensor[index.to(tensor.device)] for name, tensor in batch.items()}


class _Cutter:
    """Cuts text into sequences of one length."""

    def __init__(self, tokenizer: PromptTokenizer, device: torch.device) -> None:
        self._tokenizer = tokenizer
        self._device = device

    def cut_windows(self, text: str, length: int, count: int) -> Batch:
        """Sequences spread evenly over the text; each begins with the beginning-of-sequence
        token if the tokenizer adds one."""
        ids, first = self._tokenizer.plain_ids(text), self._tokenizer.first
        body = length - len(first)
        if len(ids) < body:
            raise InputError(
                f"the text has {len(ids)} tokens, {body} are needed; give a longer text"
            )
        stride = (len(ids) - body) // max(1, count - 1)
        starts = [i * stride for i in range(count)]
        return self._on_device(torch.tensor([first + ids[s : s + body] for s in starts]))

    def cut_texts(self, text: str, length: int, count: int) -> Batch:
        """Pieces of text with special tokens, cut and padded to one length."""
        stride = max(1, (len(text) - 8 * length) // max(1, count - 1))
        pieces = [text[i * stride : i * stride + 8 * length] for i in range(count)]
        encoded = self._tokenizer.tokenizer(
            pieces,
            truncation=True,
            max_length=length,
            padding="max_length",
            return_tensors="pt",
            verbose=False,
        )
        return {name: tensor.to(self._device) for name, tensor in encoded.items()}

    def _on_device(self, ids: torch.Tensor) -> Batch:
        ids = ids.to(self._device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
