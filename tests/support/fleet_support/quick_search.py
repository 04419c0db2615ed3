"""A search on this machine whose trials are those of a quick worker: STUDY URL TRIALS."""

from __future__ import annotations

import sys
from pathlib import Path

from autotune.cli import options
from autotune.execute.inline import InlineExecutor
from autotune.search.loop import Search
from autotune.search.observer import Observer
from autotune.search.plan import make_plan
from autotune.search.register import register
from autotune.store import Store
from fleet_support.quick_worker import QuickSlot


def main(study: str, url: str, trials: str) -> None:
    wanted = options.study_of(Path(study), {"budget.trials": int(trials)})
    plan = make_plan(wanted, Path("here"), lambda *_: None)
    with Store.open(url) as store:
        register(plan, store, resume=False)
        Search(
            plan,
            store,
            url,
            lambda on_progress: InlineExecutor(QuickSlot(on_progress).run),
            Observer(),
        ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
