"""The views of a database's studies, computed again only when somebody looks and there is news.

Nothing runs while nobody looks, and what looking computes is a small share of one core: on a
machine that measures, a dashboard must not be what disturbs the numbers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from autotune.dashboard.view import StudyView
from autotune.store.state import state_words
from autotune.store.store import Store

_LEAST_SECONDS = 3.0
_REST = 20.0
"""After a view was computed, the next one waits for so many times as long as that took."""


@dataclass(frozen=True)
class _Known:
    view: StudyView
    stamp: tuple[datetime, str]
    """When its record was changed, and what the study did then."""
    until: float


class Views:
    """Views by study. Used by many threads."""

    def __init__(
        self, store: Store, url: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            store: The database; only read.
            url: Of the database.
            clock: Seconds, for the rest between two views.
        """
        self._store = store
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def find(self, name: str) -> StudyView | None:
        """The view of a study; None where the database has none of that name in our record.

        Args:
            name: Of the study.
        """
        with self._lock:
            known = self._known.get(name)
            if known and self._clock() < known.until:
                return known.view
            study = self._store.find_study(name)
            if study is None:
                return None
            state = state_words(self._url, study)
            stamp = (study.updated_at, state)
            if known and known.stamp == stamp:
                return known.view
            begun = self._clock()
            view = StudyView(study, self._store.trials(name), state)
            view.plots, view.note  # noqa: B018 - computed here, where its time is counted
            ended = self._clock()
            rest = max(_LEAST_SECONDS, _REST * (ended - begun))
            self._known[name] = _Known(view, stamp, ended + rest)
            return view
