"""The broker: one Celery configuration for both ends, and what Redis tells besides."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import redis
from celery import Celery
from kombu.exceptions import KombuError
from pydantic import ValidationError
from redis.backoff import NoBackoff
from redis.retry import Retry

from autotune.errors import BrokerError, InputError
from autotune.execute.fleet.messages import RUN_JOB, FleetEvent, RunJob, WorkerCard
from autotune.urls import without_secrets

if TYPE_CHECKING:
    from redis.client import PubSub

CARD_SECONDS = 15
"""How long a worker counts as alive after its last sign."""

ALLOWED = "redis://[:password@]host[:port][/number] or rediss:// for TLS"
_CARDS = "autotune:worker:"
_WEEK = 7 * 24 * 3600
_log = logging.getLogger(__name__)


def make_app(url: str) -> Celery:
    """Celery as both ends use it.

    Messages are JSON and nothing else, acknowledged when the job is over, one at a time. That a
    job runs once is not left to the broker: a message whose lease is taken is dropped.

    Args:
        url: Of the broker.
    """
    app = Celery("autotune", broker=url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A child opens nothing before its first job, and yet the machine may be busy.
        worker_proc_alive_timeout=60,
        broker_transport_options={
            # Trials take hours; a lost one is found by its lease long before.
            "visibility_timeout": _WEEK,
            "socket_connect_timeout": 5,
            "socket_timeout": 15,
            "socket_keepalive": True,
        },
    )
    return app


class Broker:
    """One connection to Redis, as the coordinator and the workers use it.

    Nothing that matters is only here: what Redis loses is sent again.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith(("redis://", "rediss://")):
            raise InputError(f"not a broker's URL: {without_secrets(url)}; allowed: {ALLOWED}")
        self.url = url
        self.app = make_app(url)
        try:
            self._redis = redis.Redis.from_url(
                url, socket_connect_timeout=5, socket_timeout=10, retry=Retry(NoBackoff(), 0)
            )
        except ValueError:
            # Its words would quote the password.
            raise InputError(
                f"not a broker's URL: {without_secrets(url)}; allowed: {ALLOWED}; write special "
                "characters of the password as %2F and the like"
            ) from None

    def check(self) -> Self:
        """Asks for a sign of life.

        Raises:
            BrokerError: There is none, or the password is wrong.
        """
        with self._reached():
            self._redis.ping()
        return self

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise BrokerError(
                f"the broker {without_secrets(self.url)} is unreachable or refuses: {error}; "
                "check that Redis runs there, and the password in the URL"
            ) from error

    def publish(self, queue: str, message: RunJob) -> bool:
        """Rings for a job.

        Returns:
            False if the broker does not answer; it may be tried again.
        """
        try:
            self.app.send_task(RUN_JOB, args=[message.model_dump(mode="json")], queue=queue)
        except (KombuError, redis.RedisError, OSError) as error:
            _log.warning("job %d cannot be sent: %s", message.job, error)
            return False
        return True

    def announce(self, card: WorkerCard) -> None:
        """Says that a worker is alive; to be repeated well within ``CARD_SECONDS``.

        Raises:
            BrokerError: The broker does not answer.
        """
        with self._reached():
            self._redis.set(_CARDS + card.name, card.model_dump_json(), ex=CARD_SECONDS)

    def leave(self, name: str) -> None:
        """Takes a worker's card away.

        Raises:
            BrokerError: The broker does not answer.
        """
        with self._reached():
            self._redis.delete(_CARDS + name)

    def workers(self) -> list[WorkerCard]:
        """Who is alive, by name; cards that cannot be read are left out.

        Raises:
            BrokerError: The broker does not answer.
        """
        with self._reached():
            keys = sorted(self._redis.scan_iter(match=_CARDS + "*", count=1000))
            found: Any = self._redis.mget(keys) if keys else []
        texts = [text for text in found if text is not None]
        return [card for text in texts if (card := _read_card(text))]

    def tell(self, study: str, event: FleetEvent) -> None:
        """Tells whoever watches a study; nobody has to.

        Raises:
            BrokerError: The broker does not answer.
        """
        with self._reached():
            self._redis.publish(_channel(study), event.model_dump_json())

    def listen(self, study: str) -> Listener:
        """Subscribes to a study's events; the connection is made when it is first asked."""
        return Listener(self._redis, _channel(study))

    def close(self) -> None:
        """Ends the connections."""
        self._redis.close()
        self.app.close()


class Listener:
    """Events of one study, as far as they come: a sign to look, never the truth."""

    def __init__(self, client: redis.Redis, channel: str) -> None:
        self._client = client
        self._channel = channel
        self._pubsub: PubSub | None = None

    def events(self, timeout_seconds: float) -> Iterator[FleetEvent]:
        """Waits for the next events.

        Args:
            timeout_seconds: How long to wait for the first.

        Raises:
            BrokerError: The broker does not answer.
        """
        try:
            if self._pubsub is None:
                self._pubsub = self._client.pubsub(  # type: ignore[no-untyped-call]
                    ignore_subscribe_messages=True
                )
                self._pubsub.subscribe(self._channel)
            message = self._pubsub.get_message(timeout=timeout_seconds)
            while message is not None:
                event = _read_event(message["data"])
                if event is not None:
                    yield event
                message = self._pubsub.get_message(timeout=0)
        except redis.RedisError as error:
            self.close()
            raise BrokerError(f"the broker's events broke off: {error}") from error

    def close(self) -> None:
        """Ends the subscription."""
        if self._pubsub is not None:
            self._pubsub.close()
            self._pubsub = None


def _channel(study: str) -> str:
    return f"autotune:study:{study}"


def _read_card(text: bytes) -> WorkerCard | None:
    try:
        return WorkerCard.model_validate_json(text)
    except ValidationError as error:
        _log.warning("a worker of another version is ignored: %s", error)
        return None


def _read_event(text: bytes) -> FleetEvent | None:
    try:
        return FleetEvent.model_validate_json(text)
    except ValidationError as error:
        _log.warning("a foreign event is ignored: %s", error)
        return None
