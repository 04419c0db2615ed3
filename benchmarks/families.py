"""What all families of optimizations reach beyond the first ones.

    python benchmarks/families.py [--model demo] [--minutes 8] [--all-minutes 30] [--seed 0]

Searches twice with the same model and workload, one search after the other: with precision,
torchao's int8, structured and depth pruning, attention kernels, threads and batches alone, and
with embedding, packed weights, distillation, other engines and drafts as well. The second space
is many times larger and gets more time; what the first search learnt it knows (warm start). Prints
both fronts as ratios to the baseline of their own search, and for each point of the first one
which point of the second is as good in every objective and better in one. Ratios nearer than 3 %
and divergences nearer than 0.003 nats are the same; what was timed too disturbed is on neither
front. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from autotune.front import FrontPoint, front, front_points, ratio_to_baseline
from autotune.messages import Grade
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


def points_of(name: str, folder: Path) -> list[tuple[FrontPoint, Ratios]]:
    """The front of a study, each point with its ratios to the study's own baseline."""
    with Store.open_existing(f"sqlite:///{folder}/studies/autotune.db") as store:
        points = front_points(store.trials(name))
    baseline = next(point for point in points if point.is_baseline).metrics
    found = []
    usable = [point for point in points if is_sound(point)]
    for point in front(usable, OBJECTIVES):
        ratios = {m: ratio_to_baseline(point.metrics[m], baseline[m]) for m in OBJECTIVES[:-1]}
        ratios[KLD] = point.metrics[KLD].value
        found.append((point, {m: float(value or 0) for m, value in ratios.items()}))
    return found


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
        first, every = points_of("first", folder), points_of("all", folder)
    for title, found in (("the first families", first), ("all families", every)):
        print(f"\nfront of {title}: tokens/s, model peak, weights (ratios), KLD (nats)")
        for pair in found:
            print(row(*pair))
    print("\npoints of the first front, and what beats them")
    beaten = 0
    for point, ratios in first:
        better = next((pair for pair in every if beats(pair[1], ratios)), None)
        beaten += better is not None
        print(f"{row(point, ratios)}\n   {'-> ' + row(*better) if better else '-> nothing'}")
    print(f"\n{beaten} of {len(first)} are beaten")


if __name__ == "__main__":
    main()
