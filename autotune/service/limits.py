"""How many requests somebody may make."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MAX_KEYS = 10_000
"""So many holders are remembered; the longest unseen is forgotten first."""


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class RateLimiter:
    """A token bucket for each key: a burst at once, and a steady rate in the long run."""

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            per_second: How fast a bucket fills.
            burst: What it holds.
            clock: Seconds from any beginning.
        """
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> int:
        """Takes one request out of a bucket.

        Args:
            key: Whose.

        Returns:
            0 if it may be made, else the whole seconds to wait for the next one.
        """
        with self._lock:
            now = self._clock()
            bucket = self._buckets.setdefault(key, _Bucket(float(self._burst), now))
            self._buckets.move_to_end(key)
            if len(self._buckets) > _MAX_KEYS:
                self._buckets.popitem(last=False)
            filled = bucket.tokens + (now - bucket.filled_at) * self._per_second
            bucket.tokens, bucket.filled_at = min(float(self._burst), filled), now
            if bucket.tokens >= 1.0:
                bucket.tokens -= 1.0
                return 0
            return math.ceil((1.0 - bucket.tokens) / self._per_second)
