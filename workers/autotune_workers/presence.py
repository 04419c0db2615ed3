"""A worker's card in Redis, renewed as long as the worker lives, and what it tells of its job."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque
from functools import partial

from autotune.errors import BrokerError
from autotune.execute.fleet.broker import CARD_SECONDS, Broker
from autotune.execute.fleet.messages import FleetEvent, WorkerCard

_EVENTS = 100
"""So many are kept while the broker is away; older ones interest nobody."""

_log = logging.getLogger(__name__)


class Presence:
    """Talks to the broker from a thread of its own: no trial ever waits for it."""

    def __init__(
        self, broker: Broker, card: WorkerCard, seconds: float = CARD_SECONDS / 3
    ) -> None:
        self._broker = broker
        self._card = card
        self._seconds = seconds
        self._events: deque[tuple[str, FleetEvent]] = deque(maxlen=_EVENTS)
        self._changed = threading.Event()
        self._over = threading.Event()
        talk = partial(contextvars.copy_context().run, self._talk)  # with the worker's name
        self._thread = threading.Thread(target=talk, name="presence", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def works_on(self, job: int | None) -> None:
        """Says which job the worker has.

        Args:
            job: Its id in the database; None: it waits for one.
        """
        self._card = self._card.model_copy(update={"job": job})
        self._changed.set()

    def tell(self, study: str, event: FleetEvent) -> None:
        """Tells whoever watches a study.

        Args:
            study: Its name.
            event: What happens.
        """
        self._events.append((study, event))
        self._changed.set()

    def stop(self) -> None:
        """Takes the card away."""
        self._over.set()
        self._changed.set()
        self._thread.join(timeout=self._seconds)
        try:
            self._broker.leave(self._card.name)
        except BrokerError as error:
            _log.warning("the card is left to expire: %s", error)

    def _talk(self) -> None:
        while not self._over.is_set():
            self._changed.clear()
            try:
                self._broker.announce(self._card)
                while self._events:
                    self._broker.tell(*self._events.popleft())
            except BrokerError as error:
                _log.warning("%s", error)
                self._over.wait(1.0)
            self._changed.wait(self._seconds)
