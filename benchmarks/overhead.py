"""What autotune itself costs: time outside the trials' phases, coordinator memory, start-up.

    python benchmarks/overhead.py [--trials 30] [--model demo]

Runs a real study and prints the share of its wall clock that was not spent in preparing, scoring,
warming up and measuring; the coordinator's peak resident memory; and how long `autotune --help`
takes beside a bare Python that imports typer (the median of seven runs each, alternating).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autotune.store import Store

AUTOTUNE = str(Path(sys.executable).with_name("autotune"))


def run_study(model: str, trials: int, folder: Path) -> tuple[float, float]:
    """Runs a study; returns its wall clock in seconds and the coordinator's peak in bytes."""
    study = Path(__file__).parents[1] / "studies/demo.yaml"
    command = [AUTOTUNE, "search", "--study", str(study), "--model", model, "--name", "overhead"]
    # The compile plugin's minutes would hide what is looked for here.
    command += ["--plugins", "batch,precision,quantize,prune,attention,threads"]
    command += ["--trials", str(trials), "--minutes", "60", "--confirm", "0"]
    began = time.monotonic()
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    peak = 0.0
    while child.poll() is None:
        # The rusage of a child holds the peak of its own children too; this is its own.
        peak = max(peak, own_peak_bytes(child.pid))
        time.sleep(0.5)
    if child.returncode:
        raise SystemExit(f"the study failed with status {child.returncode}")
    return time.monotonic() - began, peak


def own_peak_bytes(pid: int) -> float:
    """The VmHWM of a process; 0 where it has just ended."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return float(found[0]) * 1024 if found else 0.0


def phase_seconds(folder: Path) -> tuple[float, int]:
    """Seconds inside the trials' phases, and how many trials there were."""
    with Store.open_existing(f"sqlite:///{folder}/studies/autotune.db") as store:
        results = [t.result for t in store.trials("overhead") if t.result]
    return sum(sum(r.phase_seconds.values()) for r in results), len(results)


def start_up_seconds() -> tuple[float, float]:
    """Medians for `autotune --help` and for importing typer and rich alone."""
    help_times, bare_times = [], []
    for _ in range(7):
        help_times.append(timed([AUTOTUNE, "--help"]))
        bare_times.append(timed([sys.executable, "-c", "import typer, rich.console"]))
    return statistics.median(help_times), statistics.median(bare_times)


def timed(command: list[str]) -> float:
    """Wall clock of a command, in seconds."""
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    """Prints the three figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--model", default="demo")
    given = parser.parse_args()
    shown, bare = start_up_seconds()
    print(f"autotune --help: {shown:.2f} s (importing typer and rich alone: {bare:.2f} s)")
    with tempfile.TemporaryDirectory() as folder:
        wall, peak = run_study(given.model, given.trials, Path(folder))
        inside, trials = phase_seconds(Path(folder))
    print(
        f"{trials} trials in {wall:.0f} s, of which {inside:.0f} s inside their phases: overhead "
        f"{100 * (wall - inside) / wall:.1f} %"
    )
    print(f"coordinator: {peak / 2**20:.0f} MiB resident at its peak")


if __name__ == "__main__":
    main()
