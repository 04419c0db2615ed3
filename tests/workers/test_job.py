"""What a worker refuses before it measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.execute.base import OnProgress
from autotune.execute.fleet.messages import RunJob
from autotune.execute.fleet.settings import WorkerSettings
from autotune.messages import TrialResult, TrialSpec
from autotune.store import Store
from autotune.store.jobs import Jobs
from autotune.testing import fake_device, fake_result, fake_spec
from autotune.trust import DATA_ONLY, Trust
from autotune_workers.job import JobRunner, Slot


class Measured:
    """A slot that measures at once."""

    def __init__(self, on_progress: OnProgress) -> None:
        pass

    def run(self, spec: TrialSpec) -> TrialResult:
        return fake_result(spec)

    def terminate(self) -> None:
        pass

    def close(self) -> None:
        pass


def refused(folder: Path, spec: TrialSpec, allows: Trust) -> dict[str, str]:
    """Worker → why, after it was given the trial."""
    url = f"sqlite:///{folder}/autotune.db"
    settings = WorkerSettings("", url, "one", "cpu", folder, allows, beat_seconds=0.01)
    slot: type[Slot] = Measured
    with Store.open(url) as store:
        if store.find_study(spec.study) is None:
            store.create_study(spec.study, {}, [], [], {})
        jobs = Jobs(store)
        job = jobs.put(spec, "queue")
        JobRunner(settings, fake_device(), jobs, lambda *_: None, slot).run(
            RunJob(job=job.id, attempt=job.attempt)
        )
        (after,) = jobs.look([job.id])
        assert (after.result is None) is bool(after.refused)
        return after.refused


@pytest.mark.parametrize("option", ["allow_pickle", "trust_remote_code", "allow_power_changes"])
def test_a_study_cannot_make_a_worker_trust_a_model_more_than_it_allows(
    tmp_path: Path, option: str
) -> None:
    spec, trust = fake_spec(1), Trust.model_validate({option: True})
    model = spec.model.model_copy(update={"path": str(tmp_path), "trust": trust})
    text = {"evaluation_text": str(tmp_path), "calibration_text": str(tmp_path)}
    workload = spec.workload.model_copy(update=text)
    spec = spec.model_copy(update={"model": model, "workload": workload})
    found = refused(tmp_path, spec, DATA_ONLY)
    words = f"does not allow --{option.replace('_', '-')}; start it with the same"
    assert found == {"one": words}
    again = spec.model_copy(update={"number": 2})
    assert refused(tmp_path, again, trust) == {}
