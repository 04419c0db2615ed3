"""What the dashboard says of a study and of a trial, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from autotune.explain import Explanation
from autotune.front import PICKS, FrontPoint, is_confirmed
from autotune.markdown import table
from autotune.outcome import Lesson, lesson
from autotune.report import format
from autotune.report.html import default_commands, sentences
from autotune.report.page_data import remarks
from autotune.report.summary import StudySummary, words
from autotune.store.records import StudyState, TrialRecord

YOURS = (
    "\n\n---\n\n*What people write goes below this line; above, all is written by autotune.*\n\n"
)
"""Stands between our words and those of people, who edit both as one text."""


_UNSETTLED = (
    "*Trials name their picks and the front once the search has finished: until then, these are "
    "in this note. An open page keeps the numbers that a trial had when it ended: reload it to "
    "see repetitions.*"
)
_RELOAD = "*A page that was opened while the search ran shows trials as they were: reload it.*"


def with_own(ours: str, theirs: str) -> str:
    """A note as it is shown.

    Args:
        ours: Made from the measurements.
        theirs: What people wrote.
    """
    return ours + YOURS + theirs


def own(shown: str) -> str:
    """The part of an edited note that people wrote.

    Args:
        shown: The whole text.
    """
    before, line, after = shown.partition(YOURS.strip())
    return (after if line else before).strip()


def study_note(summary: StudySummary, explanation: Explanation) -> str:
    """A study's note.

    Args:
        summary: The study.
        explanation: What it has taught.
    """
    study = summary.study
    parts = [
        f"## {_text(summary.model)} on {_text(summary.device)}",
        " ".join([f"The study is {summary.state}.", *map(_text, sentences(summary))]),
        *(f"**{_text(warning)}**" for warning in summary.warnings),
        _RELOAD if is_settled(summary) else _UNSETTLED,
        _picks(summary),
        _listed("What the plugins gave and cost", explanation.answer),
        _listed("Failures", _failures(summary)),
        _listed("Constraints", study.constraints),
        _listed("Notes", study.notes),
        "### Go on\n\n" + _block("\n".join(default_commands(study))),
    ]
    return "\n\n".join(filter(None, parts))


def trial_note(summary: StudySummary, trial: TrialRecord) -> str:
    """A trial's note.

    Args:
        summary: The study.
        trial: One of its trials.
    """
    point = summary.by_number.get(trial.number)
    heading = f"## #{trial.number} · {_text(words(trial))}"
    if trial.result is None:
        return f"{heading}\n\n{'Is being measured' if summary.is_running else 'Not finished'}."
    parts = [heading, standing(summary, trial)]
    if point is None:
        parts.append("It gave no numbers.")
    else:
        parts += [_text(summary.against_baseline(point)), _metrics(summary, point)]
    return "\n\n".join([*parts, *_more(summary, trial)])


def is_settled(summary: StudySummary) -> bool:
    """Whether picks and front stay as they are. An open page keeps what it was told of a trial
    when that ended: until then, only what it asks for again may name them."""
    return summary.study.state is StudyState.FINISHED


def picks_of(summary: StudySummary, number: int) -> str:
    """The picks that a trial is, in words; none until they are settled.

    Args:
        summary: The study.
        number: Of the trial.
    """
    found = summary.pick_names.get(number, []) if is_settled(summary) else []
    return ", ".join(name.replace("_", " ") for name in found)


def standing(summary: StudySummary, trial: TrialRecord) -> str:
    """Outcome, picks, front and repetitions in one line.

    Args:
        summary: The study.
        trial: One of its finished trials.
    """
    point = summary.by_number.get(trial.number)
    outcome = summary.outcome(trial).replace("_", " ")
    picks = picks_of(summary, trial.number)
    on_front = is_settled(summary) and trial.number in summary.front_numbers
    told = [
        f"**{outcome}**",
        f"pick: **{picks}**" if picks else "",
        "on the front" if on_front else "",
        "measured again in fresh processes" if point and is_confirmed(point) else "",
    ]
    return " · ".join(filter(None, told))


def _picks(summary: StudySummary) -> str:
    if not summary.picks:
        return ""
    rows = [
        (
            name.replace("_", " "),
            f"#{point.number}",
            _text(words(point)),
            _text(summary.against_baseline(point)),
            _text(summary.ties_in_words(name)),
        )
        for name in PICKS
        if (point := summary.picks.get(name))
    ]
    return "### Picks\n\n" + table(("pick", "trial", "recipe", "against the baseline", ""), rows)


def _metrics(summary: StudySummary, point: FrontPoint) -> str:
    rows = []
    for kind in summary.columns:
        found = point.metrics.get(kind.name)
        ends = (found.ci_low, found.ci_high) if found else (None, None)
        given = None not in ends
        rows.append(
            (
                f"{_text(kind.label)} {format.arrow(kind)}",
                _text(format.measured(kind.name, found, with_interval=False)),
                " to ".join(format.quantity(kind.name, end) for end in ends) if given else "",
                summary.ratio(point, kind.name),
                (found.grade or "") if found else "",
            )
        )
    return table(("metric", "value", "95 % interval", "to the baseline", "grade"), rows)


def _more(summary: StudySummary, trial: TrialRecord) -> Iterable[str]:
    result = trial.result
    if result is None:
        return
    if result.explanation:
        failed = lesson(result.outcome) is Lesson.REJECT
        yield f"### {'Why it failed' if failed else 'Why'}\n\n{_block(result.explanation)}"
    yield _listed("What to know", list(remarks(summary, trial)))
    seconds = (f"{phase} {format.duration(s)}" for phase, s in result.phase_seconds.items())
    yield _listed("Where its time went", [", ".join(seconds)] if result.phase_seconds else [])
    if result.log:
        yield f"Log: {_text(result.log)}"


def _failures(summary: StudySummary) -> list[str]:
    return [
        f"{outcome.value.replace('_', ' ')}: {', '.join(f'#{t.number}' for t in trials)}"
        for outcome, trials in summary.failures.items()
    ]


def _listed(heading: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return f"### {heading}\n\n" + "\n".join(f"- {_text(' '.join(line.split()))}" for line in lines)


def _block(text: str) -> str:
    """Lines as they are; the fence is longer than any in them."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _text(text: str) -> str:
    """Text as it is: nothing in it is read as Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#~!])", r"\\\1", text)
