"""What a changed model learns from: its teacher's own text, and calibration text; no plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune.plugin import Unsupported

if TYPE_CHECKING:
    from torch import Generator, Tensor

Batch = Mapping[str, "Tensor"]

BATCH = 8
"""Texts of one batch."""

MOST_TEXTS = 512
"""However long the training is: more would take longer to write than they are worth."""

_TURNS = 4
"""How often each text is learned from: to write one costs more than to learn from it again."""

_MOST_HELD_OUT = 32
"""Texts that are only looked at: they are read again in each check."""

_FEWEST_TOKENS = 64
"""Length of the texts that the teacher writes where the calibration texts are shorter."""

_WRITTEN_AT_ONCE = 64


@dataclass(frozen=True)
class Texts:
    """Batches to learn from, and others that are only looked at."""

    training: list[Batch]
    held_out: list[Batch]


def teaching_texts(
    teacher: Any, calibration: Sequence[Batch], wanted: int, generator: Generator
) -> Texts:
    """Collects text like the model's own.

    A language model writes it: from one token on, as in LLM-QAT (Liu et al., 2023), or from a
    piece of calibration text. Encoders do not write: they get calibration texts of which each is
    spliced with another one.

    Args:
        teacher: The original model.
        calibration: Batches of calibration text, on the teacher's device.
        wanted: How many texts the training reads, repetitions counted.
        generator: Draws everything; on the teacher's device.

    Raises:
        Unsupported: There is too little calibration text.
    """
    if not calibration:
        raise Unsupported("distillation needs calibration text, and there is none")
    count = max(4 * BATCH, min(MOST_TEXTS, wanted // _TURNS))
    if teacher.can_generate():
        return _written(teacher, calibration, count, generator)
    return _spliced(calibration, count, generator)


def _written(
    teacher: Any, calibration: Sequence[Batch], count: int, generator: Generator
) -> Texts:
    """The texts held back hold no calibration text: all others may be continuations of it."""
    import torch

    longest = int(getattr(teacher.config, "max_position_embeddings", None) or 1 << 30)
    rows = torch.cat([batch["input_ids"] for batch in calibration])
    length = min(longest, max(_FEWEST_TOKENS, rows.shape[1]))
    free = _write(teacher, _beginnings(teacher, rows, count // 2, 1, generator), length, generator)
    pieces = _beginnings(teacher, rows, count - count // 2, rows.shape[1] // 4, generator)
    continued = _write(teacher, pieces, length, generator)
    held = max(BATCH, min(_MOST_HELD_OUT, count // 8))
    training = [*_batches(free[held:]), *_batches(continued), *calibration]
    return Texts(training, _batches(free[:held]))


def _beginnings(
    teacher: Any, rows: Tensor, count: int, length: int, generator: Generator
) -> Tensor:
    """Pieces from anywhere in the calibration text, each after the token that begins a text if
    the calibration texts begin with one: ``[count, length (+ 1)]``."""
    import torch

    first = teacher.config.bos_token_id
    has_first = first is not None and bool((rows[:, 0] == first).all())
    body = rows[:, 1:] if has_first else rows
    length = max(1, min(length, body.shape[1]))
    row = _draw(len(body), (count, 1), generator)
    start = _draw(body.shape[1] - length + 1, (count, 1), generator)
    pieces = body[row, start + torch.arange(length, device=rows.device)]
    return torch.cat([rows[:1, :1].expand(count, 1), pieces], dim=1) if has_first else pieces


def _draw(below: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    import torch

    return torch.randint(below, shape, generator=generator, device=generator.device)


def _write(teacher: Any, beginnings: Tensor, length: int, generator: Generator) -> Tensor:
    import torch

    parts = _parts(beginnings, _WRITTEN_AT_ONCE)
    return torch.cat([_write_some(teacher, part, length, generator) for part in parts])


def _write_some(teacher: Any, ids: Tensor, length: int, generator: Generator) -> Tensor:
    """Samples from the teacher's whole distribution; no text ends before its length."""
    import torch

    ends = _ends(teacher)
    latest, cache = ids, None
    with torch.no_grad():
        while ids.shape[1] < length:
            output = teacher(input_ids=latest, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            logits = output.logits[:, -1].float()
            logits[:, ends] = -torch.inf
            latest = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            ids = torch.cat([ids, latest], dim=1)
    return ids


def _ends(teacher: Any) -> list[int]:
    end = teacher.config.eos_token_id
    return [] if end is None else [end] if isinstance(end, int) else list(end)


def _parts(rows: Tensor, size: int) -> list[Tensor]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _batches(ids: Tensor) -> list[Batch]:
    import torch

    return [
        {"input_ids": part, "attention_mask": torch.ones_like(part)} for part in _parts(ids, BATCH)
    ]


def _spliced(calibration: Sequence[Batch], count: int, generator: Generator) -> Texts:
    """A quarter of the texts is held back, whole and out of every splice."""
    import torch

    rows = {name: torch.cat([batch[name] for batch in calibration]) for name in calibration[0]}
    total = len(rows["input_ids"])
    held = total // 4
    if held == 0:
        raise Unsupported(
            f"to distill an encoder takes at least 4 calibration texts; there are {total}"
        )
    shown = {name: tensor[held:] for name, tensor in rows.items()}
    training = _splices(shown, count, generator)
    return Texts([*_cut(shown), *_cut(training)], _cut({n: t[:held] for n, t in rows.items()}))


def _splices(rows: Mapping[str, Tensor], count: int, generator: Generator) -> Mapping[str, Tensor]:
    """Texts whose tokens beyond a random point are those of another text, where both have any."""
    import torch

    total, length = rows["input_ids"].shape
    one, other = _draw(total, (count,), generator), _draw(total, (count,), generator)
    point = _draw(length, (count, 1), generator)
    both = (rows["attention_mask"][one] * rows["attention_mask"][other]).bool()
    swapped = both & (torch.arange(length, device=both.device) >= point)
    spliced = {name: tensor[one].clone() for name, tensor in rows.items()}
    spliced["input_ids"][swapped] = rows["input_ids"][other][swapped]
    return spliced


def _cut(rows: Mapping[str, Tensor]) -> list[Batch]:
    parts = {name: _parts(tensor, BATCH) for name, tensor in rows.items()}
    return [
        {name: parts[name][i] for name in parts} for i in range(len(next(iter(parts.values()))))
    ]
