"""Chooses where the front is expected to gain most for the time it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import log_ndtr
from threadpoolctl import ThreadpoolController

from autotune.search.failures import Failures
from autotune.search.features import Features, Rows
from autotune.search.observation import HALF_WIDTH, Observations
from autotune.search.pool_code import Integers, Mask, PoolCode
from autotune.search.quantity import Quantity, needs_preparing
from autotune.search.stall import is_stalled
from autotune.search.surrogates import Surrogate, spread_out
from autotune.search.transfer import Transfer
from autotune.surrogate.improvement import (
    ROOM_BEYOND_FRONT,
    expected_improvement,
    front_scale,
    not_dominated,
)

_FIRST_TRIALS = 6
"""Spread over the pool before there is anything to model."""
_FEW_PLUGINS = 2
_LEAST_SPREAD = 3
"""After what the user names."""
_LEAST_AGREEMENT = 0.5
"""Mean over the objectives of the rank correlation with an earlier study, below which it is
doubted."""
_MOST_FAILED_COPIES = 2
"""Of what was best there, unless more of it works."""
_MOST_CANDIDATES = 3000
_FRONT_POINTS_SEARCHED_AROUND = 10
_NO_GAIN = 1e-12
"""Of the front's own box."""
_STALLED_TRIALS = 12
"""So long without a new point on the front, and the models may be wrong: of few trials they can be
sure that a parameter moves nothing which moves much beside another one."""
_EXPLORE_EVERY = 2
"""Trials, while stalled, without those whose prepared process was there."""
_LEAST_CHANCE = 0.1
"""Of what explores, to keep the constraints."""
_DRAWN = 200
"""Recipes among which the farthest is looked for."""
_MOST_COMPARED = 400
"""Begun recipes that it is to be far from."""
_Columns = Mapping[str, tuple[Rows, Rows]]
"""Metric → values and standard errors."""
_NOT_OF_A_RUN = ("prepare", "score", "lock")
"""Phases that a warm sibling, or one of known accuracy, does not have."""


class SurrogateChooser:
    """Bayesian optimization over the recipes themselves: one Gaussian process for each metric,
    exact expected hypervolume improvement for each recipe that is left and will probably work,
    times the chance that it keeps the constraints, over the seconds that it is expected to take.
    """

    def __init__(
        self,
        code: PoolCode,
        features: Features,
        quantities: Sequence[Quantity],
        seed: int,
        transfer: Transfer | None = None,
        memory: str | None = None,
        named: int = 0,
    ) -> None:
        """
        Args:
            code: The pool.
            features: The same pool in columns.
            quantities: What is modelled; the objectives come first.
            seed: Of what is drawn.
            transfer: From an earlier study.
            memory: The metric that is a trial's peak of memory, if trials tell one.
            named: How many recipes are begun after the baseline without being chosen here.
        """
        self._code = code
        self._features = features
        self._quantities = quantities
        self._objectives = [q for q in quantities if q.objective]
        self._few_plugins = np.array([len(r.choices) <= _FEW_PLUGINS for r in code.recipes])
        self._random = np.random.default_rng(seed)
        self._libraries = ThreadpoolController()
        earlier = transfer or Transfer()
        self._named = named
        self._best_before = frozenset(earlier.best)
        self._to_copy = list(earlier.best)
        self._copies_failed = self._copies_worked = 0
        self._is_doubted = False
        """Whether the earlier study contradicts what is measured."""
        known = earlier.known
        self._models = [Surrogate(features.of(q.moved_by), known.get(q.name)) for q in quantities]
        self._preparing = Surrogate(features.of(needs_preparing))
        self._score_seconds: list[float] = []
        self._run_seconds: list[float] = []
        self._known_outputs: set[int] = set()
        self._reached: dict[int, list[float]] = {}
        """Losses of each feasible trial, in every objective."""
        self._begun: list[int] = []
        self._pending: list[int] = []
        self._siblings = 0
        """How many were chosen whose prepared process was there."""
        self._measured: list[list[float]] = []
        """Losses of each trial with all objectives, feasible or not."""
        self._broken_outputs: set[int] = set()
        """Numbers whose accuracy breaks a limit, whatever computes them."""
        self._failures = Failures(features, memory)

    def begin(self, index: int) -> None:
        """Notes that a recipe is measured from now on."""
        self._begun.append(index)
        self._pending.append(index)

    def observe(self, indices: Integers, seen: Observations) -> None:
        """Takes in what came of recipes."""
        ended, waiting = set(indices.tolist()), set(self._pending)
        self._begun += [index for index in indices.tolist() if index not in waiting]
        self._pending = [index for index in self._pending if index not in ended]
        copies = np.isin(indices, list(self._best_before))
        self._copies_failed += int((copies & seen.failed & ~seen.lost).sum())
        self._copies_worked += int((copies & ~seen.failed).sum())
        values = {q.name: _columns(seen, q.name) for q in self._quantities}
        whole = np.all([np.isfinite(values[q.name][0]) for q in self._objectives], axis=0)
        self._failures.learn(indices, seen, seen.failed | (seen.feasible & ~whole))
        self._learn_seconds(indices, seen)
        self._learn_values(indices, ~seen.failed, values)
        whole &= ~seen.failed
        losses = np.array([q.losses(values[q.name][0][whole]) for q in self._objectives]).T
        self._measured += losses.tolist()
        feasible = seen.feasible[whole]
        places = indices[whole][feasible].tolist()
        self._reached.update(zip(places, losses[feasible].tolist(), strict=True))

    def _learn_values(self, indices: Integers, worked: Mask, values: _Columns) -> None:
        for quantity, model in zip(self._quantities, self._models, strict=True):
            found, errors = values[quantity.name]
            there = worked & np.isfinite(found)
            places, found, errors = indices[there], found[there], errors[there]
            model.learn(places, quantity.losses(found), quantity.loss_errors(found, errors))
            if quantity.of_numbers:
                broken = places[quantity.are_outside(found, errors)]
                self._broken_outputs |= set(self._code.outputs[broken].tolist())

    def choose(self, allowed: Mask, warm: int | None = None) -> int:
        """The next recipe.

        Args:
            allowed: Which recipes may be chosen; one at least.
            warm: A recipe whose prepared process is there.
        """
        if not self._is_doubted:
            self._judge_earlier()
        copied = self._copy(allowed, warm)
        if copied is not None:
            return copied
        if not self._is_informed():
            return self._spread_first(allowed)
        # Of matrices as small as these, several threads are slower than one, and far slower
        # beside other work.
        with self._libraries.limit(limits=1, user_api="blas"):
            return self._choose_informed(allowed, warm)

    def _choose_informed(self, allowed: Mask, warm: int | None) -> int:
        """What promises most; while stalled, every second time that this would be prepared anew,
        something far instead."""
        anew = len(self._begun) - self._siblings
        explores = anew % _EXPLORE_EVERY == 0 and self._is_stalled()
        setups = self._code.setups
        there = setups == setups[warm] if warm is not None else np.zeros(len(setups), dtype=bool)
        if not explores or (there & allowed).any():
            chosen = self._most_promising(allowed, warm)
            if there[chosen] or not explores:
                self._siblings += int(there[chosen])
                return chosen
        return self._explore(allowed, warm)

    def _most_promising(self, allowed: Mask, warm: int | None) -> int:
        kept = self._unbroken(self._candidates(allowed))
        candidates = self._failures.likely_to_work(kept)
        gains = self._gains(candidates) / self._seconds(candidates, warm)
        return int(candidates[gains.argmax()])

    def _copy(self, allowed: Mask, warm: int | None) -> int | None:
        """The next of the few recipes that were best in an earlier study, as long as what comes of
        them agrees with it; first one whose prepared process is there."""
        left = [index for index in self._to_copy if allowed[index]]
        outputs, setups = self._code.outputs, self._code.setups
        self._to_copy = [index for index in left if outputs[index] not in self._broken_outputs]
        if not self._to_copy:
            return None
        return min(self._to_copy, key=lambda i: warm is None or setups[i] != setups[warm])

    def _judge_earlier(self) -> None:
        """Doubts an earlier study whose best recipes fail here, or where what both measured is in
        another order."""
        found = [model.agreement for model in self._models[: len(self._objectives)]]
        known = [agreement for agreement in found if agreement is not None]
        fails = self._copies_failed > max(_MOST_FAILED_COPIES, self._copies_worked)
        if fails or (known and float(np.mean(known)) < _LEAST_AGREEMENT):
            self._to_copy = []
            for model in self._models:
                model.doubt_earlier()
            self._is_doubted = True

    def _is_informed(self) -> bool:
        """Whether there is enough to model."""
        wanted = max(_FIRST_TRIALS, 1 + self._named + _LEAST_SPREAD)
        known = len(self._measured) > 1 and all(model.known > 1 for model in self._models)
        return known and len(self._begun) >= wanted

    def _is_stalled(self) -> bool:
        """Whether the last trials that keep the constraints have brought nothing to the front."""
        wanted = _STALLED_TRIALS + self._named
        if len(self._reached) <= wanted:
            return False
        models = self._models[: len(self._objectives)]
        errors = np.array([HALF_WIDTH * model.typical_error for model in models])
        return is_stalled(np.array(list(self._reached.values())), errors, _STALLED_TRIALS)

    def _spread_first(self, allowed: Mask) -> int:
        """Far from all that was begun. Where preparing takes time, of recipes with few plugins on:
        what they do together is dear to find out, and often useless, before it is known what they
        do."""
        few = allowed & self._few_plugins if self._preparing.known else allowed
        left = np.flatnonzero(few if few.any() else allowed)
        return self._farthest(self._draw(left, _DRAWN))

    def _explore(self, allowed: Mask, warm: int | None) -> int:
        """Far from what was begun, and neither likely to fail nor sure to break a limit; where
        nothing is, what promises most."""
        drawn = self._draw(self._unbroken(np.flatnonzero(allowed)), _DRAWN)
        drawn = self._failures.likely_to_work(drawn)
        holding = drawn[self._chance_to_hold(*self._expect(drawn)) > math.log(_LEAST_CHANCE)]
        return self._farthest(holding) if len(holding) else self._most_promising(allowed, warm)

    def _farthest(self, candidates: Integers) -> int:
        """The recipe whose nearest begun one is farthest away."""
        if not self._begun:
            return int(candidates[0])
        begun = np.array(self._begun)[spread_out(len(self._begun), _MOST_COMPARED)]
        matrix = self._features.matrix
        distances = cdist(matrix[candidates], matrix[begun], "cityblock")
        return int(candidates[distances.min(axis=1).argmax()])

    def _draw(self, indices: Integers, most: int) -> Integers:
        if len(indices) <= most:
            return indices
        return np.asarray(self._random.choice(indices, most, replace=False))

    def _candidates(self, allowed: Mask) -> Integers:
        """All that are left; of a large pool some, and what is near the front."""
        left = np.flatnonzero(allowed)
        if len(left) <= _MOST_CANDIDATES:
            return left
        found = [self._draw(left, _MOST_CANDIDATES // 2)]
        if not self._reached:
            return found[0]
        losses = np.array(list(self._reached.values()))
        on_front = np.array(list(self._reached))[not_dominated(losses)]
        around = self._draw(on_front, _FRONT_POINTS_SEARCHED_AROUND)
        share = _MOST_CANDIDATES // 2 // len(around)
        rows = self._features.matrix[left]
        for index in around:
            distances = np.abs(rows - self._features.matrix[index]).sum(axis=1)
            found.append(left[np.argpartition(distances, share)[:share]])
        return np.unique(np.concatenate(found))

    def _gains(self, candidates: Integers) -> Rows:
        means, deviations = self._expect(candidates)
        chance = self._chance_to_hold(means, deviations)
        if not self._reached:  # first of all something that keeps the constraints
            return np.asarray(np.exp(chance - chance.max()))
        count = len(self._objectives)
        losses = np.array(list(self._reached.values()))
        scale = front_scale(losses, np.array(self._measured))
        means, deviations = (means[:, :count] - scale[0]) / scale[1], deviations[:, :count]
        front = (self._front() - scale[0]) / scale[1]
        gains = expected_improvement(
            means, deviations / scale[1], front, np.full(count, 1.0 + ROOM_BEYOND_FRONT)
        )
        if gains.max() < _NO_GAIN:  # nothing is expected any more: what may surprise most
            hope = (2 * deviations / scale[1] - means).sum(axis=1)
            gains = np.exp(hope - hope.max())
        return np.asarray(gains * np.exp(chance))

    def _expect(self, candidates: Integers) -> tuple[Rows, Rows]:
        """Means and standard deviations of all that is modelled, ``[candidates, quantities]``."""
        expected = [model.expect(candidates, self._pending) for model in self._models]
        means, deviations = (np.array(part).T for part in zip(*expected, strict=True))
        return means, deviations

    def _front(self) -> Rows:
        """What was reached, and what pending trials are expected to reach."""
        losses = np.array(list(self._reached.values()))
        if self._pending:
            waiting = np.array(self._pending, dtype=np.intp)
            models = self._models[: len(self._objectives)]
            losses = np.vstack([losses, np.array([m.expect(waiting)[0] for m in models]).T])
        return np.unique(losses[not_dominated(losses)], axis=0)

    def _unbroken(self, candidates: Integers) -> Integers:
        """Leaves out numbers that are known to be outside a limit, while there are others."""
        kept = ~np.isin(self._code.outputs[candidates], list(self._broken_outputs))
        return candidates[kept] if kept.any() else candidates

    def _chance_to_hold(self, means: Rows, deviations: Rows) -> Rows:
        """Logarithm of the chance that the constraints hold, were the metrics independent."""
        chance = np.zeros(len(means))
        for k, quantity in enumerate(self._quantities):
            # The end of the interval is judged, not the value.
            margin = HALF_WIDTH * self._models[k].typical_error if quantity.bounds else 0.0
            for bound, is_upper in quantity.bounds:
                z = (quantity.loss(bound) - means[:, k]) / deviations[:, k]
                z = z if is_upper == quantity.minimize else -z
                chance += log_ndtr(z - margin / deviations[:, k])
        return chance

    def _learn_seconds(self, indices: Integers, seen: Observations) -> None:
        prepared: dict[int, float] = {}
        rows = zip(
            indices.tolist(),
            self._code.outputs[indices].tolist(),
            seen.phase_seconds,
            seen.warm.tolist(),
            seen.feasible.tolist(),
            strict=True,
        )
        for index, output, seconds, warm, feasible in rows:
            if "prepare" in seconds and not warm:
                prepared[index] = math.log(max(seconds["prepare"], 1e-3))
            if "score" in seconds and feasible:  # others may have been scored in part
                self._score_seconds.append(seconds["score"])
                self._known_outputs.add(output)
            if "measure" in seconds:
                parts = (seconds.get(name, 0.0) for name in _NOT_OF_A_RUN)
                self._run_seconds.append(sum(seconds.values()) - sum(parts))
        places = np.array(list(prepared), dtype=np.intp)
        self._preparing.learn(places, np.array(list(prepared.values())))

    def _seconds(self, candidates: Integers, warm: int | None) -> Rows:
        """What each trial is expected to take: preparing and scoring only where that is new."""
        if not self._run_seconds or not self._preparing.known:
            return np.ones(len(candidates))
        seconds = np.full(len(candidates), float(np.median(self._run_seconds)))
        prepare = np.exp(self._preparing.expect(candidates)[0])
        if warm is not None:
            prepare[self._code.setups[candidates] == self._code.setups[warm]] = 0.0
        if self._score_seconds:
            known = np.isin(self._code.outputs[candidates], list(self._known_outputs))
            seconds += np.where(known, 0.0, float(np.median(self._score_seconds)))
        return seconds + prepare


def _columns(seen: Observations, name: str) -> tuple[Rows, Rows]:
    """Values and standard errors of a metric; NaN where nothing has it."""
    missing = np.full(len(seen.failed), np.nan)
    return seen.values.get(name, (missing, missing))
