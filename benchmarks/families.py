"""What all families of optimizations reach beyond the first ones.

    python benchmarks/families.py [--model demo] [--minutes 4] [--all-minutes 12] [--seed 0]

Searches twice with the same model and workload, one search after the other: with precision,
torchao's int8, structured and depth pruning, attention kernels, threads and batches alone, and
with embedding, packed weights, distillation, other engines and drafts as well. The second space is
many times larger and gets more time. It begins with the front of the first (``try_first``):
numbers of one recipe in two searches differ, and so it is seen within one search whether each of
these points is beaten or stays on the front. No trial ends early (racing). Prints both fronts as
ratios to the baseline of their own search, what the second search measured of each point of the
first front and which other one is as good in every objective and better in one, and how much more
of the reachable space the second front covers than those points do. Ratios nearer than 3 % and
divergences nearer than 0.003 nats are the same; what was timed too disturbed is on neither front.
Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autotune.front import (
    FrontPoint,
    HypervolumeScale,
    bounds_of,
    front,
    front_points,
    hypervolume,
    ratio_to_baseline,
)
from autotune.messages import Grade, Metrics, RecipeDict
from autotune.store import Store

AUTOTUNE = str(Path(sys.executable).with_name("autotune"))
OBJECTIVES = [
    "output_tokens_per_second",
    "host_model_peak_bytes",
    "weights_bytes",
    "kld_mean_nats",
]
LARGER_IS_BETTER = OBJECTIVES[0]
KLD = OBJECTIVES[-1]
CONSTRAINTS = ["kld_mean_nats<=0.5"]
SAME_RATIO, SAME_NATS = 0.03, 0.003

FIRST: dict[str, dict[str, list[Any]]] = {
    "batch": {"size": [1, 4, 16]},
    "precision": {"dtype": ["bfloat16"]},
    "quantize": {"scheme": ["int8_weight_only", "int8_dynamic"]},
    "prune": {
        "method": ["structured", "depth"],
        "ratio": [0.3, 0.5],
        "schedule": ["one_shot"],
    },
    "attention": {"kernel": ["eager"]},
    "threads": {"intra_op": [1], "binding": ["none"], "numa": ["all"]},
}
MORE: dict[str, dict[str, list[Any]]] = {
    "embedding": {},
    "distill": {
        "train": ["full"],
        "steps": [100],
        "learning_rate": [1e-3],
        "schedule": ["cosine"],
        "accumulation": [1],
        "clip_norm": [1.0],
        "dtype": ["float32"],
    },
    "engine": {"backend": ["onnxruntime", "openvino"], "threads": [0]},
    "speculative": {"method": ["prompt_lookup"], "tokens": [4]},
    "quantize": {
        "scheme": ["int8_weight_only", "int8_dynamic", "intx"],
        "weight_bits": [4],
        "group_size": [64],
        "symmetric": [False],
        "rounding": ["gptq"],
        "activations": ["keep"],
    },
}
Ratios = dict[str, float]
Pair = tuple[FrontPoint, Ratios]


def search(
    name: str,
    plugins: dict[str, Any],
    minutes: float,
    folder: Path,
    given: argparse.Namespace,
    first: Sequence[Pair] = (),
) -> None:
    """Runs one study, these points first."""
    study = {
        "name": name,
        "model": given.model,
        "plugins": plugins,
        "try_first": [point.recipe for point, _ in first],
        "objectives": OBJECTIVES,
        "constraints": CONSTRAINTS,
        "seed": given.seed,
        "workload": {"prompt_tokens": 64, "new_tokens": 16},
        "measure": {"block_seconds": 0.3, "max_pairs": 10, "racing": False},
        "confirm": {"processes": 0},
        "budget": {"trials": 500, "minutes": minutes},
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    subprocess.run([AUTOTUNE, "search", "--study", str(file)], cwd=folder, check=True)


@dataclass(frozen=True)
class Found:
    """What a search has measured, each point with its ratios to the search's own baseline."""

    baseline: Metrics
    recipes: list[RecipeDict]
    """Of all trials that gave numbers."""
    sound: list[Pair]
    best: list[Pair]

    @classmethod
    def of(cls, name: str, folder: Path) -> Found:
        """Reads a study."""
        with Store.open_existing(f"sqlite:///{folder}/studies/autotune.db") as store:
            points = front_points(store.trials(name))
        baseline = next(point for point in points if point.is_baseline).metrics
        sound = [point for point in points if is_sound(point)]
        pairs = [
            [(p, ratios_of(p, baseline)) for p in ps] for ps in (sound, front(sound, OBJECTIVES))
        ]
        return cls(baseline, [point.recipe for point in points], *pairs)

    def covers(self, pairs: Iterable[Pair]) -> float:
        """The share of the reachable space that points of it dominate."""
        scale = HypervolumeScale.of(self.baseline, OBJECTIVES, bounds_of(CONSTRAINTS))
        return hypervolume((point for point, _ in pairs), scale)


def ratios_of(point: FrontPoint, baseline: Metrics) -> Ratios:
    """Its objectives over the baseline's, and its divergence."""
    found = {m: ratio_to_baseline(point.metrics[m], baseline[m]) for m in OBJECTIVES[:-1]}
    found[KLD] = point.metrics[KLD].value
    return {name: float(value or 0) for name, value in found.items()}


def is_sound(point: FrontPoint) -> bool:
    """Whether it keeps the constraints, ran as asked, and was timed undisturbed."""
    grades = {point.metrics[name].grade for name in OBJECTIVES}
    return point.feasible and not point.fallbacks and Grade.C not in grades


def beats(one: Ratios, other: Ratios) -> bool:
    """As good in every objective, and better in one."""
    gains = []
    for name in OBJECTIVES:
        gain = other[name] - one[name]
        if name != KLD:
            gain /= other[name]
        gain *= -1 if name == LARGER_IS_BETTER else 1
        same = SAME_NATS if name == KLD else SAME_RATIO
        gains.append(0 if abs(gain) <= same else gain)
    return min(gains) >= 0 and max(gains) > 0


def row(point: FrontPoint, ratios: Ratios) -> str:
    """One line of a table."""
    numbers = "  ".join(f"{ratios[name]:7.3f}" for name in OBJECTIVES)
    return f"{numbers}  {point.recipe or 'baseline'}"


def fate(recipe: RecipeDict, found: Found) -> tuple[str, str]:
    """What becomes of a point of the first front in the second search: a word, and lines."""
    again = next((pair for pair in found.sound if pair[0].recipe == recipe), None)
    if again is None:
        if recipe in found.recipes:
            return "not sound", "it broke the limit, or was timed too disturbed"
        return "not measured", "it failed, or the time was over"
    if better := next((pair for pair in found.best if beats(pair[1], again[1])), None):
        return "beaten", f"{row(*again)}\n   -> {row(*better)}"
    on_front = any(pair[0].recipe == recipe for pair in found.best)
    return "on the front" if on_front else "tied with what is on the front", row(*again)


def compare(first: Found, every: Found) -> None:
    """Prints what the second search reaches beyond the first."""
    for title, found in (("the first families", first), ("all families", every)):
        print(f"\nfront of {title}: tokens/s, model peak, weights (ratios), KLD (nats)")
        for pair in found.best:
            print(row(*pair))
    print("\npoints of the first front, and what becomes of them in the second search")
    fates: Counter[str] = Counter()
    for own in first.best:
        word, lines = fate(own[0].recipe, every)
        fates[word] += 1
        print(f"{row(*own)}\n   {word}: {lines}")
    told = ", ".join(f"{count} {word}" for word, count in fates.most_common())
    print(f"\nof {len(first.best)} points in the second search: {told}")
    recipes = [point.recipe for point, _ in first.best]
    before = every.covers(pair for pair in every.sound if pair[0].recipe in recipes)
    after = every.covers(every.best)
    print(f"covered of the reachable space there: {before:.3f} by them, {after:.3f} by all")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--minutes", type=float, default=4, help="of the first search")
    parser.add_argument("--all-minutes", type=float, default=12, help="of the second search")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        search("first", FIRST, given.minutes, folder, given)
        first = Found.of("first", folder)
        search("all", FIRST | MORE, given.all_minutes, folder, given, first.best)
        compare(first, Found.of("all", folder))


if __name__ == "__main__":
    main()
