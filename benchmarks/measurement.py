"""How far the ruler can be trusted here: ``python benchmarks/measurement.py [--runs 20]``.

Prints, on a quiet machine and beside a second process that loads all cores in random bursts:

1. A/A: how many of the comparisons of the baseline with itself have an interval that contains 1,
   and the median half-width of these intervals.
2. Known ratio: how often 5 % and 20 % more decode work lie within the interval, or the comparison
   was graded C.
3. The root mean square error (of the log-ratio) of the alternating estimate, and of measuring A
   and then B with as many blocks, in the same run.

And once, on the quiet machine: prefill and decode times of a plain ``model.generate`` timed by
hand, beside ours in random order, of a random Llama with 150 million parameters and prompts of
256 tokens (``generate`` does a few milliseconds of work of its own for each call, which a small
model would show). Nothing else should run meanwhile. Takes about 20 minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from autotune.config import StudyFile
from autotune.execute.ruler import DECODE, Comparison, Ruler
from autotune.messages import Grade, TrialSpec
from autotune.recipe import Recipe
from autotune.search.plan import make_plan
from autotune.search.single import make_spec
from autotune.statistics import pooled_spread, repeatable_mean

_DECODE_TOKENS = 41
"""40 decode steps: 5 % and 20 % more are whole steps."""

_LOADS = {"quiet": False, "loaded": True}
_PROCESS_PAIRS = 4
"""Fresh pairs of processes that the comparisons are spread over: two processes of the same model
differ by some per cent for as long as they live."""

_BURSTS = """
import random, sys, time
draw = random.Random(int(sys.argv[1]))
while True:
    end = time.monotonic() + draw.uniform(0.5, 4)
    while time.monotonic() < end:
        pass
    time.sleep(draw.uniform(0.5, 4))
"""


@dataclass(frozen=True)
class Run:
    """One comparison by the alternating harness, and one of A and then B."""

    alternating: Comparison
    sequential: float
    """Median of the candidate's blocks over the median of the reference's, taken afterwards."""


def compare(ruler: Ruler, seed: int) -> Run:
    """Both ways, with the same number of blocks, one right after the other."""
    alternating = ruler.compare(seed)
    count = len(alternating.pairs)
    first = [ruler.block("candidate")[DECODE] for _ in range(count)]
    second = [ruler.block("reference")[DECODE] for _ in range(count)]
    return Run(alternating, statistics.median(first) / statistics.median(second))


@contextlib.contextmanager
def load(wanted: bool) -> Iterator[None]:
    """A process for each core that is busy in random bursts."""
    cores = os.cpu_count() or 1
    children = [
        subprocess.Popen([sys.executable, "-c", _BURSTS, str(i)])
        for i in range(cores if wanted else 0)
    ]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def root_mean_square(errors: list[float]) -> float:
    """Of log-ratios, in percent."""
    return 100 * math.sqrt(statistics.fmean(error * error for error in errors))


def report(name: str, truth: float, runs: list[Run]) -> None:
    """Prints one line per question."""
    found = [run.alternating for run in runs]
    inside = sum(f.ratio.low <= truth <= f.ratio.high for f in found)
    poor = sum(f.grade is Grade.C and not f.ratio.low <= truth <= f.ratio.high for f in found)
    widths = [100 * f.ratio.half_width_ratio for f in found]
    grades = " ".join(f"{sum(f.grade is g for f in found)}{g}" for g in Grade)
    ours = root_mean_square([math.log(f.ratio.value / truth) for f in found])
    theirs = root_mean_square([math.log(run.sequential / truth) for run in runs])
    print(
        f"{name:22} {inside}/{len(runs)} intervals hold {truth:.3f}, {poor} others are graded C; "
        f"median half-width {statistics.median(widths):.1f} %; grades {grades}; RMS error "
        f"{ours:.1f} % alternating, {theirs:.1f} % A then B ({theirs / ours:.1f} times)",
        flush=True,
    )


def larger_model(folder: Path, tokenizer: str) -> Path:
    """A random Llama with the demo model's tokenizer."""
    code = f"""
import torch, transformers
tokenizer = transformers.AutoTokenizer.from_pretrained({tokenizer!r})
torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=1024, intermediate_size=2816, num_hidden_layers=12,
    num_attention_heads=16, num_key_value_heads=4, max_position_embeddings=512,
)
transformers.LlamaForCausalLM(config).save_pretrained({str(folder)!r})
tokenizer.save_pretrained({str(folder)!r})
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    return folder


def by_hand(spec: TrialSpec, repeats: int) -> list[tuple[dict[str, float], list[float]]]:
    """Times ``model.generate`` in a process of its own, right beside our own blocks.

    Returns:
        For each repeat the metrics of our block, and TTFT and TPOT by hand.
    """
    code = f"""
import json, statistics, time, torch, transformers
from autotune.bench.tokens import load_tokens, take
from autotune.messages import TrialSpec
spec = TrialSpec.model_validate_json(open({str(Path(spec.directory) / "spec.json")!r}).read())
model = transformers.AutoModelForCausalLM.from_pretrained(spec.model.path).eval()
prompts = take(load_tokens(spec.model, spec.workload, torch.device("cpu")).prompts, 1)
tokens = spec.workload.new_tokens
def generate(count):
    began = time.perf_counter()
    with torch.inference_mode():
        model.generate(**prompts, max_new_tokens=count, min_new_tokens=count, do_sample=False)
    return time.perf_counter() - began
def once(): return generate(1), generate(tokens)
once(); once()
for line in iter(input, "stop"):
    short, long = once()
    print(json.dumps([short, (long - short) / (tokens - 1)]), flush=True)
"""
    Path(spec.directory).mkdir(parents=True, exist_ok=True)
    Path(spec.directory, "spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.closing(Ruler(spec)) as ruler:
        hand: list[list[float]] = []
        own: list[dict[str, float]] = []

        def one_by_hand(ask: IO[str], answer: IO[str]) -> None:
            ask.write("go\n")
            ask.flush()
            hand.append(json.loads(answer.readline()))

        sides: list[Callable[[], None]] = [
            lambda: own.append(ruler.block("reference")),
            partial(one_by_hand, child.stdin, child.stdout),
        ]
        for _ in range(repeats):
            random.shuffle(sides)
            for side in sides:
                side()
    child.communicate("stop\n")
    return list(zip(own, hand, strict=True))


def report_by_hand(spec: TrialSpec, repeats: int) -> None:
    """Prints our times over those by hand; the interval is that of the mean over pairs of
    processes."""
    shares = [len(range(first, repeats, _PROCESS_PAIRS)) for first in range(_PROCESS_PAIRS)]
    found = [by_hand(spec, share) for share in shares if share]
    for name, index in (("ttft_seconds", 0), ("tpot_seconds", 1)):
        groups = [[math.log(own[name] / hand[index]) for own, hand in pairs] for pairs in found]
        medians = [statistics.median(group) for group in groups]
        ratio = repeatable_mean(groups, pooled_spread([medians]), again=10**9)
        value, low, high = map(math.exp, (ratio.value, ratio.low, ratio.high))
        each = ", ".join(f"{math.exp(median):.3f}" for median in medians)
        print(
            f"{name}: ours over model.generate by hand: {value:.3f} [{low:.3f}, {high:.3f}] from "
            f"{repeats} pairs of blocks; each pair of processes: {each}",
            flush=True,
        )


def baseline_spec(model: str, folder: Path, prompt_tokens: int, new_tokens: int) -> TrialSpec:
    """The baseline of a study with short blocks."""
    study = StudyFile.model_validate(
        {
            "name": "ruler",
            "model": model,
            "workload": {"prompt_tokens": prompt_tokens, "new_tokens": new_tokens},
            "measure": {"block_seconds": 0.2, "max_pairs": 10},
        }
    )
    plan = make_plan(study, folder, lambda *_: None, only={})
    return make_spec(plan, 0, Recipe())


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo-tiny")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", choices=["generate", *_LOADS], help="one part of it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spec = baseline_spec(options.model, Path(folder), 32, _DECODE_TOKENS)
        if options.only in (None, "generate"):
            larger = larger_model(Path(folder, "larger"), spec.model.path)
            report_by_hand(baseline_spec(str(larger), Path(folder), 256, 17), options.runs)
        for loaded in [wanted for part, wanted in _LOADS.items() if options.only in (None, part)]:
            print("beside a load on all cores" if loaded else "quiet", flush=True)
            for more in (0.0, 0.05, 0.20):
                runs = []
                for first in range(_PROCESS_PAIRS):
                    with contextlib.closing(Ruler(spec, more)) as ruler, load(loaded):
                        seeds = range(first, options.runs, _PROCESS_PAIRS)
                        runs += [compare(ruler, seed) for seed in seeds]
                name = f"{more:.0%} more decode work" if more else "A/A"
                report(name, ruler.true_ratio, runs)


if __name__ == "__main__":
    main()
