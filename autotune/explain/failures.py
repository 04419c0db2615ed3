"""Why trials brought no numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from autotune.explain.choices import Choices, choices_of
from autotune.explain.records import Choice, Failures, Suspect
from autotune.outcome import Lesson, Outcome, lesson
from autotune.store.records import TrialRecord

_SURE = 0.05
"""A choice with a larger adjusted p-value is no suspect."""
_DIGITS = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?")


def failed(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Those that ended without numbers."""
    return [t for t in trials if t.result and lesson(t.result.outcome) is Lesson.REJECT]


def group_failures(trials: Sequence[TrialRecord]) -> tuple[Failures, ...]:
    """Failed trials by outcome and reason, the most frequent first; reasons that differ in their
    numbers alone are one."""
    groups: dict[tuple[Outcome, str], list[TrialRecord]] = {}
    for trial in failed(trials):
        assert trial.result is not None
        kind = _DIGITS.sub("0", first_line(trial.result.explanation))
        groups.setdefault((trial.result.outcome, kind), []).append(trial)
    return tuple(
        Failures(outcome=key[0], reason=_reason(group[0]), trials=tuple(t.number for t in group))
        for key, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    )


def _reason(trial: TrialRecord) -> str:
    return first_line(trial.result.explanation) if trial.result else ""


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no explanation")


def suspects(trials: Sequence[TrialRecord]) -> tuple[Suspect, ...]:
    """Choices that failed surely more often than the trials without them, the surest first.

    Each is judged by Fisher's exact test; p-values are adjusted for the number of choices by
    Benjamini and Hochberg (J. R. Stat. Soc. B 57:289, 1995). Choices that are in the same trials
    are told once, by the widest of them.
    """
    finished = [t for t in trials if t.result]
    bad = {t.number for t in failed(finished)}
    if not bad or len(bad) == len(finished):
        return ()
    rows = {t.number: choices_of(t.recipe) for t in finished}
    found = list(_tables(rows, bad))
    adjusted = _adjusted([_p_value(table) for _, table in found])
    sure = sorted(
        (p, choice.words, choice, table)
        for p, (choice, table) in zip(adjusted, found, strict=True)
        if p < _SURE
    )
    return tuple(
        Suspect(
            choice=choice,
            failed=table[0],
            tried=table[1],
            failed_without=table[2],
            tried_without=table[3],
            p_value=p,
        )
        for p, _, choice, table in sure
    )


_Table = tuple[int, int, int, int]
"""Failed and tried with a choice, failed and tried without."""


def _tables(rows: dict[int, Choices], bad: set[int]) -> Iterator[tuple[Choice, _Table]]:
    having: dict[Choice, set[int]] = {}
    for number, row in rows.items():
        for choice in row:
            having.setdefault(choice, set()).add(number)
    seen: set[frozenset[int]] = set()
    for choice in sorted(having, key=lambda c: (bool(c.param), c.words)):
        numbers = frozenset(having[choice])
        if numbers not in seen:
            seen.add(numbers)
            mine = len(numbers & bad)
            rest = len(rows) - len(numbers)
            yield choice, (mine, len(numbers), len(bad) - mine, rest)


def _p_value(table: _Table) -> float:
    import numpy as np
    from scipy.stats import fisher_exact

    mine, tried, others, rest = table
    counts = np.array([[mine, tried - mine], [others, rest - others]])
    found = fisher_exact(counts, alternative="greater")
    return float(found.pvalue)


def _adjusted(p_values: Sequence[float]) -> list[float]:
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(p_values)] if p_values else []
