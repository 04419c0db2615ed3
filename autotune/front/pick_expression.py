"""Reads a pick that is asked for in words: ``max output_tokens_per_second where
kld_mean_nats<0.05 and weights_bytes<=0.5*baseline``."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from autotune.errors import InputError
from autotune.metrics import METRICS, Direction, Metric

GRAMMAR = "max|min METRIC [where METRIC <|<=|>|>= NUMBER|NUMBER*baseline [and ...]]"
BASELINE = "baseline"

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>[<>]=?)|(?P<times>\*)|(?P<end>\Z))"
)
_WORDS = {"max": Direction.MAXIMIZE, "min": Direction.MINIMIZE}
_RESERVED = (*_WORDS, "where", "and", BASELINE)
_OTHERS_SHOWN = 3
_MOST_CHARACTERS = 1000


@dataclass(frozen=True)
class Limit:
    """``metric < bound`` and the like, in the metric's unit or in baselines."""

    metric: str
    sign: str
    """``<``, ``<=``, ``>`` or ``>=``."""
    bound: float
    of_baseline: bool = False
    """Whether the bound is a multiple of the baseline's value."""

    def __str__(self) -> str:
        times = f"*{BASELINE}" if self.of_baseline else ""
        return f"{self.metric}{self.sign}{self.bound:.12g}{times}"

    @property
    def is_upper(self) -> bool:
        """Whether smaller values keep it."""
        return self.sign[0] == "<"

    def excess(self, value: float) -> float:
        """How far a value is outside, as a share of the bound where that is not 0; at most 0
        where the limit holds.

        Args:
            value: In what the bound is in.
        """
        outside = value - self.bound if self.is_upper else self.bound - value
        if outside == 0:
            return 0.0 if self.sign.endswith("=") else math.ulp(0.0)
        return outside / abs(self.bound) if self.bound else outside


@dataclass(frozen=True)
class Expression:
    """The best value of a metric among what keeps some limits."""

    metric: Metric
    limits: tuple[Limit, ...] = ()

    def __str__(self) -> str:
        word = next(w for w, direction in _WORDS.items() if direction is self.metric.direction)
        where = " and ".join(map(str, self.limits))
        return f"{word} {self.metric.name}" + (f" where {where}" if where else "")


def is_expression(text: str) -> bool:
    """Whether a text is meant as an expression, right or wrong: it begins with max or min."""
    return bool(re.match(rf"\s*({'|'.join(_WORDS)})\b", text, re.IGNORECASE))


def parse_expression(text: str) -> Expression:
    """Reads an expression.

    Raises:
        InputError: It is not one; the message shows the place and says what is allowed there.
    """
    if len(text) > _MOST_CHARACTERS:
        raise InputError(
            f"cannot read a pick of {len(text):,} characters, only of up to {_MOST_CHARACTERS:,}; "
            f"expected {GRAMMAR}"
        )
    return _Parser(text).expression()


def metrics_asked_for(text: str) -> tuple[str, ...]:
    """The metrics that an expression names; none where the text is another kind of pick.

    Raises:
        InputError: It is meant as an expression and is none.
    """
    if not is_expression(text):
        return ()
    found = parse_expression(text)
    return tuple(dict.fromkeys([found.metric.name, *(limit.metric for limit in found.limits)]))


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int

    @property
    def shown(self) -> str:
        return repr(self.text) if self.text else "its end"


class _Parser:
    """Looks one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._read()
        self._next = next(self._tokens)

    def expression(self) -> Expression:
        word = self._take_word(*_WORDS)
        place = self._next.place
        kind = self._metric()
        if kind.direction is not _WORDS[word]:
            other = next(w for w in _WORDS if w != word)
            self._fail(
                place, f"the best {kind.name} is the {other}imum: write {other} {kind.name}"
            )
        return Expression(kind, tuple(self._limits()))

    def _limits(self) -> Iterator[Limit]:
        word = "where"
        while self._next.kind != "end":
            self._take_word(word)
            yield self._limit()
            word = "and"

    def _limit(self) -> Limit:
        kind = self._metric()
        sign = self._take("sign", "<, <=, > or >=").text
        place = self._next.place
        bound, of_baseline = self._bound()
        if bound < 0 and sign[0] == "<" and not kind.is_signed:
            self._fail(place, f"{kind.name} is never negative: give a limit of 0 or more")
        return Limit(kind.name, sign, bound, of_baseline)

    def _bound(self) -> tuple[float, bool]:
        """``0.05``, ``0.5*baseline``, ``baseline*0.5``, ``baseline``."""
        if self._next.text.lower() == BASELINE:
            self._advance()
            return (self._number() if self._skip("times") else 1.0), True
        bound = self._number()
        if not self._skip("times"):
            return bound, False
        self._take_word(BASELINE)
        return bound, True

    def _number(self) -> float:
        token = self._take("number", "a number, or a number of baselines such as 0.5*baseline")
        if not math.isfinite(value := float(token.text)):
            self._fail(token.place, "the number is too large")
        return value

    def _metric(self) -> Metric:
        token = self._next
        self._require("name", "the name of a metric (autotune metrics lists them)")
        if token.text not in METRICS:
            self._fail(token.place, _no_metric(token.text))
        self._advance()
        return METRICS[token.text]

    def _take_word(self, *words: str) -> str:
        word = self._next.text.lower()
        if word not in words:
            self._fail(self._next.place, f"expected {' or '.join(words)}, not {self._next.shown}")
        self._advance()
        return word

    def _take(self, kind: str, wanted: str) -> _Token:
        token = self._next
        self._require(kind, wanted)
        self._advance()
        return token

    def _require(self, kind: str, wanted: str) -> None:
        if self._next.kind != kind:
            self._fail(self._next.place, f"expected {wanted}, not {self._next.shown}")

    def _skip(self, kind: str) -> bool:
        found = self._next.kind == kind
        if found:
            self._advance()
        return found

    def _advance(self) -> None:
        self._next = next(self._tokens)

    def _read(self) -> Iterator[_Token]:
        place = 0
        while True:
            found = _TOKEN.match(self._text, place)
            if found is None:
                rest = self._text[place:].lstrip()
                self._fail(len(self._text) - len(rest), _no_token(rest[0]))
            kind = str(found.lastgroup)
            yield _Token(kind, found[kind], found.start(kind))
            place = found.end()

    def _fail(self, place: int, why: str) -> NoReturn:
        # On one line, so that the mark stands below the place.
        shown = "".join(" " if c.isspace() else c for c in self._text)
        raise InputError(
            f"cannot read the pick\n  {shown}\n  {' ' * place}^ {why}\nexpected {GRAMMAR}"
        )


def _no_token(character: str) -> str:
    """What begins nothing that is allowed."""
    told = f"{character!r} has no meaning here"
    return f"{told}: limits are <, <=, > or >=" if character in "=\u2264\u2265!" else told


def _no_metric(name: str) -> str:
    """The nearest names: of parts of a name too, since the names are long."""
    if name.lower() in _RESERVED:
        return f"expected the name of a metric, not {name!r}"
    near = difflib.get_close_matches(name, METRICS, n=_OTHERS_SHOWN, cutoff=0.5)
    within = [known for known in METRICS if name.lower() in known]
    close = list(dict.fromkeys([*near, *within]))[:_OTHERS_SHOWN]
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"no metric named {name!r}; {hint}autotune metrics lists them"
