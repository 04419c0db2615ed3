"""What a trial asks of the database: as much, however many trials there are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event

from autotune.search.observer import Observer


class Counting(Observer):
    """Counts the database's questions and transactions up to the end of each trial."""

    def __init__(self) -> None:
        self.now = (0, 0)
        self.seen: list[tuple[int, int]] = []

    def on_trial_finished(self, study: Any, trial: Any) -> None:
        self.seen.append(self.now)

    def asked(self, *_: Any) -> None:
        self.now = (self.now[0] + 1, self.now[1])

    def committed(self, *_: Any) -> None:
        self.now = (self.now[0], self.now[1] + 1)


def test_later_trials_ask_the_database_no_more_than_earlier_ones(lab: Any) -> None:
    counting = Counting()
    event.listen(Engine, "before_cursor_execute", counting.asked)
    event.listen(Engine, "commit", counting.committed)
    try:
        lab.search(lab.plan(budget={"trials": 80}, sampler="random"), observer=counting)
    finally:
        event.remove(Engine, "before_cursor_execute", counting.asked)
        event.remove(Engine, "commit", counting.committed)
    pairs = list(zip(counting.seen[29:], counting.seen[30:], strict=False))
    statements = {after[0] - before[0] for before, after in pairs}
    commits = {after[1] - before[1] for before, after in pairs}
    assert commits == {2}  # it is begun, and it is finished
    assert max(statements) <= 20  # SQLite's BEGIN counts too
    assert max(statements) - min(statements) <= 2
