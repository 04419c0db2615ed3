"""The token bucket, with a clock of the test's own."""

from __future__ import annotations

from autotune.service.limits import RateLimiter


def test_burst_is_let_through_and_then_the_rate() -> None:
    now = [0.0]
    limiter = RateLimiter(per_second=0.5, burst=2, clock=lambda: now[0])
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 2]
    assert limiter.take("b") == 0, "another key has its own bucket"
    now[0] = 2.0
    assert [limiter.take("a") for _ in range(2)] == [0, 2]
    now[0] = 1000.0
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 2], "it never holds more than a burst"


def test_keys_that_were_not_seen_for_long_are_forgotten() -> None:
    limiter = RateLimiter(per_second=1e-9, burst=1, clock=lambda: 0.0)
    assert limiter.take("first") == 0
    for number in range(10_000):
        limiter.take(str(number))
    assert limiter.take("first") == 0
