"""What all families of optimizations reach beyond the first ones.

    python benchmarks/families.py [--model demo] [--minutes 8] [--all-minutes 30] [--seed 0]

Searches twice with the same model and workload, one search after the other: with precision,
torchao's int8, structured and depth pruning, attention kernels, threads and batches alone, and
with embedding, packed weights, distillation, other engines and drafts as well. The second space
is many times larger and gets more time; what the first search learnt it knows (warm start). Prints
both fronts as ratios to the baseline of their own search, and for each point of the first one
which point of the second is as good in every objective and better in one, or what became of the
same recipe there: one search's numbers of a recipe are not another's. Ratios nearer than 3 % and
divergences nearer than 0.003 nats are the same; what was timed too disturbed is on neither front.
Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from autotune.front import FrontPoint, front, front_points, ratio_to_baseline
from autotune.messages import Grade, Metrics
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
    name: str, plugins: dict[str, Any], minutes: float, folder: Path, given: argparse.Namespace
) -> None:
    """Runs one study."""
    study = {
        "name": name,
        "model": given.model,
        "plugins": plugins,
        "objectives": OBJECTIVES,
        "constraints": ["kld_mean_nats<=0.5"],
        "seed": given.seed,
        "workload": {"prompt_tokens": 64, "new_tokens": 16},
        "measure": {"block_seconds": 0.3, "max_pairs": 10},
        "confirm": {"processes": 0},
        "budget": {"trials": 500, "minutes": minutes},
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    subprocess.run([AUTOTUNE, "search", "--study", str(file)], cwd=folder, check=True)


def points_of(name: str, folder: Path) -> tuple[list[Pair], list[Pair]]:
    """The front of a study and all its sound points, each with its ratios to the study's own
    baseline."""
    with Store.open_existing(f"sqlite:///{folder}/studies/autotune.db") as store:
        points = front_points(store.trials(name))
    baseline = next(point for point in points if point.is_baseline).metrics
    sound = [point for point in points if is_sound(point)]
    best = front(sound, OBJECTIVES)
    return [(p, ratios_of(p, baseline)) for p in best], [
        (p, ratios_of(p, baseline)) for p in sound
    ]


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


def fate(own: Pair, best: Sequence[Pair], measured: Sequence[Pair]) -> tuple[str, str]:
    """What becomes of a point of the first front in the second search: a word, and a line."""
    point, ratios = own
    if better := next((pair for pair in best if beats(pair[1], ratios)), None):
        return "beaten", row(*better)
    again = next((pair for pair in measured if pair[0].recipe == point.recipe), None)
    if again is None:
        return "not beaten", "nothing, and it was not measured again"
    if better := next((pair for pair in best if beats(pair[1], again[1])), None):
        return "beaten when measured again", f"{row(*again)}\n   -> {row(*better)}"
    return "on the second front itself", row(*again)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--minutes", type=float, default=8, help="of the first search")
    parser.add_argument("--all-minutes", type=float, default=30, help="of the second search")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        search("first", FIRST, given.minutes, folder, given)
        search("all", FIRST | MORE, given.all_minutes, folder, given)
        (first, _), (every, measured) = points_of("first", folder), points_of("all", folder)
    for title, found in (("the first families", first), ("all families", every)):
        print(f"\nfront of {title}: tokens/s, model peak, weights (ratios), KLD (nats)")
        for pair in found:
            print(row(*pair))
    print("\npoints of the first front, and what becomes of them in the second search")
    fates: Counter[str] = Counter()
    for own in first:
        word, line = fate(own, every, measured)
        fates[word] += 1
        print(f"{row(*own)}\n   {word}: {line}")
    told = ", ".join(f"{count} {word}" for word, count in fates.most_common())
    print(f"\nof {len(first)} points: {told}")


if __name__ == "__main__":
    main()
