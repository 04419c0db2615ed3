"""What several processes compute against what one does, on the CPU.

    python benchmarks/parallel_logits.py MODEL [data:2 tensor:2 pipeline:2 hybrid:4]

Prints, for each kind and number of processes, the largest difference of any logit of three prompts
to those of a single process, and whether greedy decoding gives the same tokens. Exits with 1 where
a difference is above 1e-4 or a token is another one. More processes than cores only take longer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

_PROMPTS = 3
_LIMIT = 1e-4
_DEFAULT = ("data:2", "tensor:2", "pipeline:2", "hybrid:4")


def compare(model: str, kind: str, world_size: int) -> dict[str, float | bool]:
    """Runs both in this process, which is rank 0 of a kind; ends it when another process dies."""
    from autotune.bench.__main__ import quiet_libraries
    from autotune.bench.engines.parallel_engine import ParallelEngine
    from autotune.bench.group import Group
    from autotune.bench.meters.memory import MemoryMeter
    from autotune.bench.prepare import prepare
    from autotune.bench.tokens import take
    from autotune.config import StudyFile
    from autotune.recipe import Recipe
    from autotune.search.plan import make_plan
    from autotune.search.single import make_spec

    quiet_libraries()
    workload = {"prompt_tokens": 32, "new_tokens": 32, "evaluation_positions": 256}
    study = {"model": model, "device": "cpu", "workload": workload, "plugins": {"parallel": {}}}
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(StudyFile.model_validate(study), Path(folder), lambda *_: None)
    chosen = {"parallel": {"kind": kind, "world_size": world_size}}
    spec = make_spec(plan, 1, Recipe.of(chosen, plan.registry.plugins))
    group = Group.of(spec)
    assert group is not None
    several = ParallelEngine(group.prepare(MemoryMeter(spec.device)).engine, group)
    alone = prepare(spec.model_copy(update={"recipe": {}}), MemoryMeter(spec.device))
    batch = take(alone.tokens.prompts, _PROMPTS)
    run_args = several.resolve({"batch_size": _PROMPTS})
    outputs = [engine.outputs(batch, run_args) for engine in (alone.engine, several)]
    for engine in (alone.engine, several):
        engine.request(batch, run_args)
    tokens = [engine.last_tokens for engine in (alone.engine, several)]
    assert tokens[0] is not None
    return {
        "difference": float((outputs[0] - outputs[1]).abs().max()),
        "largest": float(outputs[0].abs().max()),
        "same_tokens": bool((tokens[0] == tokens[1]).all()),
        "different_tokens": len(tokens[0].unique()),
    }


def main() -> None:
    """One process after the other: libraries know one group of processes in their life."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("kinds", nargs="*", default=_DEFAULT)
    parser.add_argument("--in-this-process", action="store_true", help="one kind, as JSON")
    given = parser.parse_args()
    if given.in_this_process:
        kind, _, size = given.kinds[0].partition(":")
        print(json.dumps(compare(given.model, kind, int(size))))
        return
    wrong = 0
    for kind in given.kinds:
        command = [sys.executable, __file__, given.model, kind, "--in-this-process"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{kind:12} {found}", flush=True)
        wrong += found["difference"] > _LIMIT or not found["same_tokens"]
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
