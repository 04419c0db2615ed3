"""Picks by expression: what can be read, what it means, and what is said where it cannot be."""

from __future__ import annotations

import math
import random
import re
import string
from dataclasses import replace

import pytest

from autotune.errors import InputError
from autotune.front import Candidates, Choices, FrontPoint, choose, metrics_asked_for
from autotune.front.pick_expression import Expression, Limit, is_expression, parse_expression
from autotune.messages import CONFIRMED, Grade, Measurement
from autotune.metrics import METRICS, Direction, metric

SPEED, WEIGHTS, KLD = "output_tokens_per_second", "weights_bytes", "kld_mean_nats"
OBJECTIVES = (SPEED, WEIGHTS, KLD)


def point(number: int, speed: float, weights: float, kld: float, half: float = 0.01) -> FrontPoint:
    ratio = speed / 100
    timed = Measurement(
        value=speed,
        unit="1/s",
        ci_low=speed * (1 - half),
        ci_high=speed * (1 + half),
        ratio=ratio if number else None,
        ratio_ci_low=ratio * (1 - half) if number else None,
        ratio_ci_high=ratio * (1 + half) if number else None,
    )
    return FrontPoint(
        number,
        {"batch": {"size": number}} if number else {},
        {
            SPEED: timed,
            WEIGHTS: Measurement(value=weights, unit="B"),
            KLD: Measurement(value=kld, unit="nat", ci_low=kld * 0.9, ci_high=kld * 1.1),
        },
    )


BASELINE = point(0, 100, 1000, 0.0)
POINTS = (
    BASELINE,
    point(1, 150, 1000, 0.0),
    point(2, 210, 500, 0.03),
    point(3, 260, 400, 0.048),
    point(4, 300, 250, 0.2),
)
CHOICES = Choices(POINTS, OBJECTIVES, {"fastest": POINTS[4], "most_accurate": POINTS[1]}, BASELINE)


def chosen(text: str, choices: Choices = CHOICES) -> int:
    return choose(text, choices).number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (f"max {SPEED}", 4),
        (f"min {WEIGHTS}", 4),
        (f"min {KLD}", 1),
        (f"max {SPEED} where {KLD}<0.05", 2),  # 0.048 reaches 0.0528 at the end of its interval
        (f"max {SPEED} where {KLD}<0.053", 3),
        (f"max {SPEED} where {WEIGHTS}<=0.5*baseline", 4),
        (f"max {SPEED} where {WEIGHTS}<=baseline*0.5 and {KLD}<=0.05", 2),
        (f"max {SPEED} where {WEIGHTS}<0.5*baseline and {KLD}<=0.1", 3),
        (f"max {SPEED} where {WEIGHTS}<=500 and {KLD}<=0.1", 3),
        (f"min {KLD} where {SPEED}>=2*baseline", 2),
        (f"min {KLD} where {SPEED} >= 2.1 * BASELINE", 3),  # 2.10 may be 2.079
        (f"min {KLD} where {SPEED}>=2e2 AND {WEIGHTS}<+.5e3", 3),
        (f"  MAX {SPEED} WHERE {WEIGHTS} < baseline", 4),
        ("fastest", 4),
        ("Most accurate", 1),
        ("most-accurate", 1),
        ("baseline", 0),
        ("3", 3),
        (" #3 ", 3),
    ],
)
def test_choice_is_the_best_of_what_surely_qualifies(text: str, number: int) -> None:
    assert chosen(text) == number


@pytest.mark.parametrize(
    ("text", "mark", "words"),
    [
        ("max", 3, "the name of a metric"),
        ("max ", 4, "the name of a metric"),
        (f"max {SPEED} {KLD}<1", 29, "expected where, not 'kld_mean_nats'"),
        (f"max {SPEED} where", 34, "the name of a metric"),
        (f"max {SPEED} where {KLD}", 48, "expected <, <=, > or >=, not its end"),
        (f"max {SPEED} where {KLD}=1", 48, "'=' has no meaning here: limits are <, <=, > or >="),
        (f"max {SPEED} where {KLD}<<1", 49, "expected a number"),
        (f"max {SPEED} where {KLD}<5%", 50, "'%' has no meaning here"),
        (f"max {SPEED} where {KLD}<1 or {WEIGHTS}<1", 51, "expected and, not 'or'"),
        (f"max {SPEED} where {WEIGHTS}<0.5*{KLD}", 53, "expected baseline"),
        (f"max {SPEED} where {WEIGHTS}<5 MB", 51, "expected and, not 'MB'"),
        (f"max {SPEED} where {KLD}<1e999", 49, "too large"),
        (f"max {SPEED} where {KLD}<-1", 49, "kld_mean_nats is never negative"),
        ("max output_tokens_per_secnd", 4, f"did you mean {SPEED}"),
        ("min kld", 4, "did you mean kld_mean_nats or"),
        ("max where", 4, "expected the name of a metric, not 'where'"),
        ("max zzzz", 4, "no metric named 'zzzz'; autotune metrics lists them"),
        (f"min {SPEED}", 4, f"the best {SPEED} is the maximum: write max {SPEED}"),
        ("max __import__('os')", 4, "no metric named '__import__'"),
        (f"max {SPEED}; DROP TABLE", 28, "';' has no meaning here"),
        (f"max\n{SPEED}\twhere {KLD}!1", 48, "'!' has no meaning here"),
    ],
)
def test_error_marks_the_place_and_says_what_is_allowed(text: str, mark: int, words: str) -> None:
    with pytest.raises(InputError) as raised:
        choose(text, CHOICES)
    first, shown, marked, grammar = str(raised.value).splitlines()
    assert first == "cannot read the pick"
    assert shown == "  " + re.sub(r"\s", " ", text)
    assert marked.index("^") == 2 + mark
    assert words in marked
    assert grammar.startswith("expected max|min METRIC")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fastst", "no pick named 'fastst'; did you mean 'fastest'"),
        ("", "no pick named ''; allowed: baseline, fastest, most_accurate, the number of a trial"),
        ("greenest", "no pick 'greenest' (least energy); it has: fastest, most_accurate"),
        (
            "7",
            "no measured trial #7: it failed, still runs, or does not exist; measured: #0 to #4",
        ),
        ("min ttft_seconds", "cannot choose by ttft_seconds: none of the 5 trials"),
        (f"max {SPEED} where ttft_seconds<1", "no trial that may be picked was measured for ttft"),
        (f"max {SPEED} where {KLD}<0.5*baseline", "the baseline's kld_mean_nats is 0; give"),
        (
            f"max {SPEED} where {WEIGHTS}<=0.2*baseline",
            "no trial keeps weights_bytes<=0.2*baseline; nearest comes #4 (batch size=4): breaks "
            "weights_bytes<=0.2*baseline with 0.25*baseline at the end of its interval",
        ),
        (
            f"max {SPEED} where {WEIGHTS}<=600 and {KLD}<=0.02",
            "nearest comes #2 (batch size=2): keeps weights_bytes<=600 with 500 at the end of its "
            "interval, breaks kld_mean_nats<=0.02 with 0.033",
        ),
    ],
)
def test_what_cannot_be_chosen_is_explained(text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        choose(text, CHOICES)


def test_what_is_disturbed_infeasible_or_fell_back_is_chosen_by_number_alone() -> None:
    poor = POINTS[4].metrics[SPEED].model_copy(update={"grade": Grade.C})
    for bad in (
        replace(POINTS[4], metrics={**POINTS[4].metrics, SPEED: poor}),
        replace(POINTS[4], feasible=False),
        replace(POINTS[4], fallbacks=("asked for bfloat16, ran float32",)),
    ):
        choices = replace(CHOICES, points=(*POINTS[:4], bad))
        assert chosen(f"max {SPEED}", choices) == 3
        assert chosen(f"min {WEIGHTS} where {SPEED}>=1*baseline", choices) == 3
        assert chosen("4", choices) == 4


def confirmed(one: FrontPoint) -> FrontPoint:
    speed = one.metrics[SPEED].model_copy(update={"stat": CONFIRMED})
    return replace(one, metrics={**one.metrics, SPEED: speed})


def test_of_a_finished_study_only_what_was_confirmed_is_chosen() -> None:
    points = tuple(confirmed(p) if p.number in (0, 2) else p for p in POINTS)
    choices = replace(CHOICES, points=points)
    assert chosen(f"max {SPEED}", choices) == 2
    assert chosen(f"max {SPEED}", replace(choices, among=Candidates.MEASURED)) == 4
    with pytest.raises(InputError, match=r"not confirmed .*: #3, #4$"):
        choose(f"max {SPEED} where {WEIGHTS}<=400", choices)


def test_a_part_of_the_recipe_is_taken_where_nothing_tells_them_apart() -> None:
    faster = point(5, 301, 250, 0.2)
    both = replace(faster, recipe={**POINTS[4].recipe, "compile": {"on": True}})
    assert chosen(f"max {SPEED}", replace(CHOICES, points=(*POINTS[:4], both))) == 5
    assert chosen(f"max {SPEED}", replace(CHOICES, points=(*POINTS, both))) == 4


def random_expression(rng: random.Random) -> Expression:
    kind = METRICS[rng.choice(list(METRICS))]
    limits = [
        Limit(
            rng.choice(list(METRICS)),
            rng.choice(["<", "<=", ">", ">="]),
            float(f"{rng.uniform(0, 10) * 10 ** rng.randint(-9, 12):.6g}"),
            rng.random() < 0.5,
        )
        for _ in range(rng.randint(0, 4))
    ]
    return Expression(kind, tuple(limits))


def test_what_is_written_is_read_again() -> None:
    rng = random.Random(1)
    for _ in range(500):
        expression = random_expression(rng)
        assert parse_expression(str(expression)) == expression
        spaced = re.sub(r"(<=|>=|<|>|\*)", r"  \1 ", str(expression)).replace(" ", "  ")
        assert parse_expression(spaced) == expression


def test_any_text_is_read_or_refused_with_its_place() -> None:
    """Valid expressions with characters put in, taken out and changed."""
    rng = random.Random(2)
    read = refused = 0
    told: list[str] = []
    for _ in range(3000):
        text = list(str(random_expression(rng)))
        for _ in range(rng.randint(0, 3)):
            place = rng.randrange(4, len(text) + 1)
            text[place : place + rng.randint(0, 1)] = rng.choice(string.printable + "\u2264é٣\0")
        try:
            found = parse_expression("".join(text))
        except InputError as error:
            refused += 1
            told.append(str(error))
        else:
            read += 1
            assert parse_expression(str(found)) == found
    assert all("cannot read the pick" in text and "^ " in text for text in told)
    assert read > 500
    assert refused > 500


def test_choice_agrees_with_a_plain_search() -> None:
    """Against a loop over random points without noise or ties."""
    rng = random.Random(3)
    for _ in range(200):
        points = [BASELINE] + [
            point(n, rng.uniform(50, 400), rng.uniform(100, 2000), rng.uniform(0, 0.3), half=0)
            for n in range(1, 12)
        ]
        most, share = rng.uniform(0, 0.3), rng.uniform(0.2, 1.5)
        fit = [
            p.number
            for p in points
            if (p.metrics[KLD].high or 0) < most and (p.value(WEIGHTS) or 0) <= share * 1000
        ]
        text = f"max {SPEED} where {KLD}<{most!r} and {WEIGHTS}<={share!r}*baseline"
        choices = replace(CHOICES, points=points)
        if not fit:
            with pytest.raises(InputError, match="no trial keeps"):
                choose(text, choices)
            continue
        best = points[chosen(text, choices)]
        assert best.number in fit
        fastest = max(points[n].value(SPEED) or 0 for n in fit)
        assert metric(SPEED).tied(best.value(SPEED), fastest)


def test_a_text_of_many_pages_is_refused_as_a_whole() -> None:
    with pytest.raises(InputError, match="characters, only of up to 1,000"):
        parse_expression(f"max {SPEED} where " + f"{KLD}<1 and " * 10_000 + f"{KLD}<1")


def test_metrics_asked_for_are_those_of_the_expression() -> None:
    text = f"max {SPEED} where {KLD}<1 and {KLD}>0 and {WEIGHTS}<2*baseline"
    assert metrics_asked_for(text) == (SPEED, KLD, WEIGHTS)
    assert metrics_asked_for("balanced") == ()


def test_only_max_and_min_begin_an_expression() -> None:
    assert is_expression("max x")
    assert is_expression(" Min")
    assert not is_expression("maximum x")


def test_excess_tells_strict_from_not_strict() -> None:
    assert Limit(KLD, "<=", 2.0).excess(2.0) == 0
    assert Limit(KLD, "<", 2.0).excess(2.0) > 0
    assert Limit(KLD, ">", 2.0).excess(1.0) == 0.5
    assert Limit(KLD, "<", 0.0).excess(0.5) == 0.5
    assert Limit(KLD, ">=", 2.0).excess(math.inf) < 0


def test_every_metric_may_be_asked_for() -> None:
    for kind in METRICS.values():
        word = "max" if kind.direction is Direction.MAXIMIZE else "min"
        assert parse_expression(f"{word} {kind.name}").metric is kind


def test_values_that_may_not_be_trusted_are_said_to_be_there() -> None:
    def graded(one: FrontPoint) -> FrontPoint:
        speed = one.metrics[SPEED].model_copy(update={"grade": Grade.C})
        return replace(one, metrics={**one.metrics, SPEED: speed})

    points = tuple(map(graded, POINTS))
    with pytest.raises(InputError) as refused:
        choose(f"max {SPEED}", replace(CHOICES, points=points, baseline=points[0]))
    told = str(refused.value)
    assert told.startswith(
        f"cannot choose by {SPEED}: in all 5 trials that may be picked it was too"
    )
    assert "measure again on a quieter machine" in told
    assert chosen(f"min {WEIGHTS}", replace(CHOICES, points=points, baseline=points[0])) == 4
