"""What the report of a long study costs: to make, to keep, and to open.

    python benchmarks/report.py [--trials 1000 10000] [--keep FOLDER]

Records made-up trials of nine metrics into a real database, and prints for each number of trials
how long reading, each format and its file take, and after how many seconds a headless Chromium
shows the first chart and the table, and all charts. CPU seconds stand beside: on a machine that
does other things too they say more. For Chromium they are those of all its processes, next to an
empty page's.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from autotune.messages import BlockPair, Measurement, Metrics, RecipeDict, TrialResult
from autotune.metrics import metric
from autotune.outcome import Outcome
from autotune.recipe import Recipe, RecipeKeys
from autotune.report.csv_file import csv_text
from autotune.report.html import render_html
from autotune.report.json_file import report_file
from autotune.report.markdown_file import markdown_text
from autotune.report.summary import StudySummary
from autotune.store import Store, StudyState

SPEED, MEMORY, KLD = "output_tokens_per_second", "host_model_peak_bytes", "kld_mean_nats"
ENERGY, WEIGHTS = "energy_per_output_token_joules", "weights_bytes"
OBJECTIVES = (SPEED, MEMORY, ENERGY, KLD)
TIMES = ("ttft_seconds", "tpot_seconds", "e2e_latency_seconds", "load_seconds")
SCHEMES = ((1.0, 1.0, 0.0), (1.3, 0.5, 0.001), (1.6, 0.4, 0.004), (1.5, 0.27, 0.03))
"""Of quantize: times speed, times weights, plus KLD."""
FORMATS: dict[str, Callable[[StudySummary], str]] = {
    "html": render_html,
    "md": markdown_text,
    "json": lambda summary: report_file(summary).model_dump_json(indent=2),
    "csv": csv_text,
}
EMPTY = """<!doctype html><html><body><script>
addEventListener("load", () => {
  const now = performance.now();
  Object.assign(document.documentElement.dataset, { ready: now, drawn: now });
});
</script></body></html>"""
READY = """<script>
new MutationObserver(() => {
  const { ready, drawn } = document.documentElement.dataset;
  if (drawn) console.log("ready after", Math.round(ready), "drawn after", Math.round(drawn), "ms");
}).observe(document.documentElement, { attributes: true });
</script>"""


def recipes(rng: random.Random) -> Iterator[RecipeDict]:
    """The baseline, then every combination in random order."""
    keeps = [1.0, *(k / 100 for k in range(30, 100, 3))]
    space = [*itertools.product(range(4), (1, 2, 4, 8, 16, 32), (False, True), range(1, 9), keeps)]
    rng.shuffle(space)
    yield {}
    for scheme, size, compiled, threads, keep in space:
        recipe: RecipeDict = {"threads": {"intra_op": threads}}
        recipe |= {"quantize": {"scheme": f"scheme_{scheme}"}} if scheme else {}
        recipe |= {"batch": {"size": size}} if size > 1 else {}
        recipe |= {"compile": {"mode": "max-autotune"}} if compiled else {}
        recipe |= {"prune": {"method": "wanda", "keep_ratio": keep}} if keep < 1 else {}
        yield recipe


def timed(name: str, value: float, base: float, half: float) -> Measurement:
    ratio = value / base
    return Measurement(
        value=value,
        unit=metric(name).unit,
        stat="median_ratio",
        ci_low=value * (1 - half),
        ci_high=value * (1 + half),
        n=8,
        source="blocks",
        ratio=ratio,
        ratio_ci_low=ratio * (1 - half),
        ratio_ci_high=ratio * (1 + half),
    )


def metrics_of(recipe: RecipeDict, rng: random.Random) -> Metrics:
    scheme = int(str(recipe.get("quantize", {}).get("scheme", "0"))[-1])
    faster, smaller, loss = SCHEMES[scheme]
    keep = float(recipe.get("prune", {}).get("keep_ratio", 1.0))
    speed = faster * float(recipe.get("batch", {}).get("size", 1)) ** 0.5 / (0.4 + 0.6 * keep)
    speed *= rng.uniform(0.9, 1.1) * (1.3 if "compile" in recipe else 1.0) if recipe else 1.0
    loss += 0.09 * (1 - keep) ** 2
    weights = 2.1e9 * smaller * (0.5 + 0.5 * keep)
    return {
        SPEED: timed(SPEED, 60 * speed, 60, 0.02),
        ENERGY: timed(ENERGY, 0.4 / speed**0.8, 0.4, 0.03),
        MEMORY: Measurement(value=1.3 * weights, unit="B"),
        WEIGHTS: Measurement(value=weights, unit="B"),
        KLD: Measurement(value=loss, unit="nat", ci_low=0.9 * loss, ci_high=1.1 * loss),
        **{name: timed(name, 0.1 / speed, 0.1, 0.02) for name in TIMES},
    }


def result(number: int, recipe: RecipeDict, rng: random.Random) -> TrialResult:
    """One in ten failed, with the last lines of a log."""
    if number and rng.random() < 0.1:
        told = f"SIGSEGV in prepare\nlast lines:\n  frame {number}\n" + "  torch._inductor\n" * 8
        return TrialResult(number=number, outcome=Outcome.CRASHED, explanation=told, metrics={})
    found = metrics_of(recipe, rng)
    kept = (found[KLD].high or 0) <= 0.05
    pair = BlockPair(candidate={SPEED: 2.0}, reference={SPEED: 1.0}, candidate_first=True)
    return TrialResult(
        number=number,
        outcome=Outcome.OK if kept else Outcome.INFEASIBLE,
        explanation="" if kept else f"kld_mean_nats is {found[KLD].high:.4g}, wanted <=0.05",
        metrics=found,
        blocks=(pair,) * 8,
    )


def record(store: Store, count: int) -> None:
    """Stores a study through the same calls as a search."""
    rng = random.Random(count)
    store.create_study("long", {"model": "acme/llama-1b"}, OBJECTIVES, ["kld_mean_nats<=0.05"], {})
    for number, recipe in enumerate(itertools.islice(recipes(rng), count)):
        key = Recipe.from_dict(recipe).key
        store.start_trial("long", number, recipe, RecipeKeys("o", "s", key))
        store.finish_trial("long", result(number, recipe, rng))
    store.update_study("long", state=StudyState.FINISHED)


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    begun, used = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - begun, time.process_time() - used
    print(f"  {what}: {wall:.2f} s, CPU {cpu:.2f} s", flush=True)


def opened(page: Path, chromium: str) -> tuple[float, float, float]:
    """Seconds from the beginning of the navigation, by the browser's own clock, until the first
    chart and until all are drawn; CPU seconds of all its processes until then."""
    watched = page.with_name("watched.html")
    watched.write_text(page.read_text(encoding="utf-8").replace("<body>", f"<body>{READY}", 1))
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--enable-logging=stderr"]
    command += ["--remote-debugging-port=0", "--window-size=1400,1000"]
    command += [f"--user-data-dir={page.parent / 'profile'}", watched.as_uri()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as browser:
        assert browser.stderr is not None
        try:
            for line in browser.stderr:
                if found := re.search(r"ready after (\d+) drawn after (\d+) ms", line):
                    cpu = _cpu_seconds(browser.pid)
                    return int(found[1]) / 1000, int(found[2]) / 1000, cpu
        finally:
            browser.terminate()
    raise RuntimeError("the page was never ready")


def _cpu_seconds(pid: int) -> float:
    main = psutil.Process(pid)
    return sum(sum(p.cpu_times()[:2]) for p in (main, *main.children(recursive=True)))


def open_page(folder: Path, chromium: str) -> None:
    empty = folder / "empty.html"
    empty.write_text(EMPTY)
    for what, page in (("empty page", empty), ("report", folder / "report.html")):
        ready, drawn, cpu = min(opened(page, chromium) for _ in range(3))
        print(
            f"  {what}: ready {ready:.2f} s, all drawn {drawn:.2f} s, CPU {cpu:.2f} s (best of 3)"
        )


def measure(count: int, folder: Path) -> None:
    print(f"{count:,} trials")
    folder.mkdir(parents=True)
    url = f"sqlite:///{folder}/autotune.db"
    with Store.open(url) as store:
        with told("recording"):
            record(store, count)
        with told("reading, raw blocks too"):
            store.trials("long")
        with told("reading"):
            study, trials = store.study("long"), store.trials("long", blocks=False)
    with told("front, picks, hypervolume"):
        summary = StudySummary.of(study, trials)
    for name, render in FORMATS.items():
        path = folder / f"report.{name}"
        with told(name):
            path.write_text(render(summary), encoding="utf-8")
        print(f"    {path.stat().st_size / 1e6:.2f} MB")
    if chromium := shutil.which("chromium") or shutil.which("chromium-browser"):
        open_page(folder, chromium)
    else:
        print("  not opened: no chromium on PATH")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument(
        "--keep", type=Path, help="write databases and reports there, and keep them"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for count in given.trials:
            measure(count, (given.keep or Path(temporary)) / str(count))


if __name__ == "__main__":
    sys.exit(main())
