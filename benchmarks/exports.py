"""Every recipe of a front, exported and measured again.

    python benchmarks/exports.py STUDY [--database URL] [--keep FOLDER]

Exports each point of a study's front, verifies it in fresh processes, and prints for each by how
much its outputs differ from the trial's, whether each objective that is measured again lies in its
stored interval, and what cannot be exported and why. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

AUTOTUNE = str(Path(sys.executable).with_name("autotune"))


def run(*arguments: str) -> tuple[dict[str, Any], str]:
    """A command's JSON, empty where it refused; and its last words."""
    ended = subprocess.run(
        [AUTOTUNE, *arguments, "--json"], check=False, capture_output=True, text=True
    )
    told = ended.stderr.strip().splitlines()
    found: dict[str, Any] = json.loads(ended.stdout) if ended.stdout.strip() else {}
    return found, told[-1] if told else ""


def row(study: str, where: list[str], number: int, folder: Path) -> str:
    """What became of one point."""
    made, words = run("export", study, str(folder), "--pick", str(number), *where)
    if not made:
        return f"not exported: {words}"
    found, words = run("verify", str(folder))
    if not found:
        return f"not verified: {words}"
    held = [f"{m['metric']} {'in' if m['holds'] else 'OUTSIDE'}" for m in found["metrics"]]
    outputs = found["outputs"]
    return (
        f"written {made['max_abs_difference']:.3g}, verified {outputs['max_abs_difference']:.3g} "
        f"of {outputs['limit']:.3g}; {', '.join(held)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("study")
    parser.add_argument("--database")
    parser.add_argument("--keep", type=Path, help="folder for what is exported")
    given = parser.parse_args()
    where = ["--database", given.database] if given.database else []
    shown, words = run("pareto", given.study, *where)
    if not shown:
        raise SystemExit(words)
    with tempfile.TemporaryDirectory() as temporary:
        for point in shown["front"]:
            folder = (given.keep or Path(temporary)) / str(point["number"])
            told = row(given.study, where, point["number"], folder)
            print(f"#{point['number']} {json.dumps(point['recipe'])}\n   {told}", flush=True)


if __name__ == "__main__":
    main()
