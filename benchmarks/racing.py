"""What racing saves, and what it loses: a replay on tables whose repeats were all kept.

    python benchmarks/racing.py TABLE.json.gz [TABLE.json.gz] [--seeds 5] [--configurations 600]

A table is a JSON file of Kernel Tuner's benchmark hub (schema T4) that holds all repeats of each
configuration (``results[].times.runtimes``). Configurations are measured as trials are, one after
the other: their repeats, in random order, beside those of the first one, which stands for the
baseline. With two tables a configuration has two times, as on two devices, and the front has
several points. Each way to measure meets the same configurations in the same order. ``missed``
counts the points of the true front (by the medians of all repeats) that no point of a way's front
comes within 1 % of.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.costs import ends
from autotune.execute.paired import alternate
from autotune.execute.racing import Looks
from autotune.execute.trial import TrialUnderWay
from autotune.front import dominates
from autotune.measure_settings import MeasureSettings
from autotune.messages import Measurement, Metrics
from autotune.statistics import median_interval
from autotune.tables import Table, Values, read_table
from autotune.testing import fake_spec

OBJECTIVES = ("e2e_latency_seconds", "ttft_seconds")
"""Metrics of which less is better, for one table or two."""

CLOSE = 0.01
"""A point of the front that another one is as near to is not missed."""

Repeats = list[tuple[float, ...]]
"""Of one configuration: the time in each table, repeat by repeat."""


def read_all(paths: Sequence[Path]) -> list[Repeats]:
    """The configurations that ran everywhere; of each as many repeats as all have."""
    tables = [_repeats(read_table(path)) for path in paths]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    return [list(zip(*(table[key] for table in tables), strict=False)) for key in shared]


def _repeats(table: Table) -> dict[Values, tuple[float, ...]]:
    """Configuration → its repeats in seconds, of those that ran."""
    time = table.objectives[0].name
    return {row.params: row.repeats[time] for row in table.rows if row.valid}


Front = dict[int, Metrics]
"""Configuration → what was measured of it, of those that no other dominates."""


@dataclass(frozen=True)
class Way:
    """One way to measure."""

    name: str
    target: float
    racing: bool


WAYS = (
    Way("every repeat", 1e-12, False),
    Way("every repeat, raced", 1e-12, True),
    Way("until narrow", 0.02, False),
    Way("until narrow, raced", 0.02, True),
)


def shuffled(repeats: Repeats, draw: random.Random) -> Callable[[], dict[str, float]]:
    """Gives the repeats in a random order."""
    order = iter(draw.sample(repeats, len(repeats)))
    return lambda: dict(zip(OBJECTIVES, next(order), strict=False))


def study(configurations: Sequence[Repeats], way: Way, seed: int) -> tuple[Front, int]:
    """Measures all configurations, one after the other, as a search would.

    Returns:
        Its front, and how many repeats it took.
    """
    baseline = configurations[0]
    names = OBJECTIVES[: len(baseline[0])]
    times = zip(names, zip(*baseline, strict=True), strict=True)
    own = {n: Measurement.of(median_interval(t), "s", "median", "replay") for n, t in times}
    settings = MeasureSettings(
        min_pairs=6, max_pairs=len(baseline), target_half_width_ratio=way.target
    )
    common = {"objectives": names, "settings": settings, "baseline": own}
    front: Front = {}
    used = 0
    order = range(len(configurations))
    for number in random.Random(seed).sample(order, len(order)):
        rivals = {n: values(m, names) for n, m in front.items()} if way.racing else {}
        spec = fake_spec(number, {"configuration": {"number": number}})
        spec = spec.model_copy(update={**common, "rivals": rivals})
        looks = Looks(TrialUnderWay(spec, lambda _: None))
        candidate = shuffled(configurations[number], random.Random(f"{seed} {number}"))
        beside = shuffled(baseline, random.Random(f"{seed} {number} beside"))
        pairs = alternate(candidate, beside, settings, names[0], seed, lambda _: None, looks.lost)
        used += len(pairs)
        take(front, number, looks.metrics(pairs), names)
    return front, used


def values(metrics: Metrics, names: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """A rival as a trial gets it."""
    found = {name: metrics[name].value for name in names}
    return {n: (v, *ends(metrics[n], v)) for n, v in found.items() if v is not None}


def take(front: Front, number: int, mine: Metrics, names: Sequence[str]) -> None:
    """Takes a trial in by the front's own rule."""
    if any(dominates(other, mine, names) for other in front.values()):
        return
    for n in [n for n, other in front.items() if dominates(mine, other, names)]:
        del front[n]
    front[number] = mine


def medians(repeats: Repeats) -> tuple[float, ...]:
    """Of all repeats: what a configuration's times are taken to be in truth."""
    return tuple(map(statistics.median, zip(*repeats, strict=True)))


def true_front(configurations: Sequence[Repeats]) -> list[tuple[float, ...]]:
    """The times that no others are as good as everywhere."""
    times = sorted(set(map(medians, configurations)))
    return [
        mine
        for mine in times
        if not any(
            other != mine and all(a <= b for a, b in zip(other, mine, strict=True))
            for other in times
        )
    ]


def missed(configurations: Sequence[Repeats], front: Front) -> int:
    """How many points of the true front no point of a front comes close to."""
    found = [medians(configurations[number]) for number in front]

    def is_close(one: tuple[float, ...], wanted: tuple[float, ...]) -> bool:
        return all(f <= t * (1 + CLOSE) for f, t in zip(one, wanted, strict=True))

    true = true_front(configurations)
    return sum(not any(is_close(one, wanted) for one in found) for wanted in true)


def row(way: Way, studies: Sequence[Sequence[Repeats]]) -> str:
    """One way over all studies, in a line."""
    runs = [study(drawn, way, seed) for seed, drawn in enumerate(studies)]
    used = sum(repeats for _, repeats in runs)
    saved = 1 - used / sum(len(repeats) for drawn in studies for repeats in drawn)
    lost = sum(missed(drawn, front) for drawn, (front, _) in zip(studies, runs, strict=True))
    points = sum(len(true_front(drawn)) for drawn in studies)
    sizes = statistics.fmean(len(front) for front, _ in runs)
    mean = used / sum(map(len, studies))
    return f"{way.name:24}{mean:9.1f}{saved:8.1%}{f'{lost} of {points}':>12}{sizes:7.1f}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--configurations", type=int, default=600)
    given = parser.parse_args()
    if len(given.tables) > len(OBJECTIVES):
        sys.exit(f"{len(given.tables)} tables given; one or two are allowed")
    everything = read_all(given.tables)
    count = min(given.configurations, len(everything))
    studies = [random.Random(seed).sample(everything, count) for seed in range(given.seeds)]
    print(f"{len(everything)} configurations ran everywhere, {count} drawn for each seed")
    print(f"{'':24}{'repeats':>9}{'saved':>8}{'missed':>12}{'front':>7}")
    for way in WAYS:
        print(row(way, studies), flush=True)


if __name__ == "__main__":
    main()
