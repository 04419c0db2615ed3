"""A worker's card in Redis, renewed as long as the worker lives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from autotune.errors import BrokerError
from autotune.execute.fleet.broker import CARD_SECONDS, Broker
from autotune.execute.fleet.messages import WorkerCard

_log = logging.getLogger(__name__)


class Presence:
    """Announces a worker from a thread of its own."""

    def __init__(
        self, broker: Broker, card: WorkerCard, seconds: float = CARD_SECONDS / 3
    ) -> None:
        self._broker = broker
        self._card = card
        self._seconds = seconds
        self._changed = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._announce, name="presence", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def works_on(self, job: int | None) -> None:
        """Says which job the worker has; None: it waits for one.

        Args:
            job: Its id in the database.
        """
        self._card = self._card.model_copy(update={"job": job})
        self._changed.set()

    def stop(self) -> None:
        """Takes the card away."""
        self._over = True
        self._changed.set()
        self._thread.join(timeout=self._seconds)
        self._try(lambda: self._broker.leave(self._card.name))

    def _announce(self) -> None:
        while not self._over:
            self._changed.clear()
            self._try(lambda: self._broker.announce(self._card))
            self._changed.wait(self._seconds)

    @staticmethod
    def _try(call: Callable[[], None]) -> None:
        try:
            call()
        except BrokerError as error:
            _log.warning("the broker does not answer: %s", error)
