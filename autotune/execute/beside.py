"""What runs beside a candidate: the baseline, or a probe where there is no room for it."""

from __future__ import annotations

from autotune.bench.protocol import Operation, Reply
from autotune.device import free_bytes
from autotune.errors import BenchError
from autotune.execute.session import BenchSession
from autotune.execute.trial import TrialUnderWay
from autotune.execute.warm import WarmSessions, ask
from autotune.messages import TrialSpec

_ROOM_RATIO = 1.2
"""A session takes this many times its weights, at least, where its peak is not known yet."""


class ReferenceLost(Exception):
    """What runs beside the candidate died; the candidate is not to blame."""


class Beside:
    """Keeps it ready, and runs its blocks."""

    def __init__(self, sessions: WarmSessions) -> None:
        self._sessions = sessions

    def begin(self, trial: TrialUnderWay) -> None:
        """Starts the baseline's process ahead of ``start``, if that will want it.

        Raises:
            BenchError: It cannot be started.
        """
        if _wants_baseline(trial):
            self._sessions.begin("reference", baseline_of(trial.spec))

    def start(self, trial: TrialUnderWay) -> BenchSession:
        """Makes ready what the candidate's blocks alternate with.

        Raises:
            ReferenceLost: The baseline's session or the probe cannot be started.
        """
        spec = trial.spec
        if spec.settings.reference == "auto" and not self._sessions.holds_baseline:
            trial.alone = trial.alone or _baseline_bytes(trial) > free_bytes(spec.device)
        if _wants_baseline(trial):
            return self.reference(spec)
        trial.alone = True
        why = "" if spec.settings.reference == "probe" else ": both do not fit into memory"
        trial.notes.append(
            f"measured without the baseline beside it{why}; a probe watched for drift, so the "
            "grade is B at best"
        )
        self._ask_probe(spec)  # the first one imports torch
        return self._sessions.probe(spec)

    def block(self, trial: TrialUnderWay) -> dict[str, float]:
        """One block of the baseline or of the probe, raw.

        Raises:
            ReferenceLost: It failed.
        """
        if trial.alone:
            return self._ask_probe(trial.spec).values
        return self.ask_reference(Operation.BLOCK, trial.spec).values

    def _ask_probe(self, spec: TrialSpec) -> Reply:
        try:
            return ask(self._sessions.probe(spec), Operation.PROBE, spec)
        except BenchError as error:
            self._sessions.drop("reference")
            raise ReferenceLost from error

    def reference(self, spec: TrialSpec) -> BenchSession:
        """The baseline's session, warmed up.

        Raises:
            ReferenceLost: It cannot be started.
        """
        baseline = baseline_of(spec)
        warm = self._sessions.is_warm("reference", baseline)
        try:
            session, _ = self._sessions.get("reference", baseline)
            if not warm:
                ask(session, Operation.WARMUP, baseline)
        except BenchError as error:
            self._sessions.drop("reference")
            raise ReferenceLost from error
        return session

    def ask_reference(self, operation: Operation, spec: TrialSpec) -> Reply:
        """Asks the baseline's session.

        Raises:
            ReferenceLost: It failed.
        """
        reference = self.reference(spec)
        try:
            return ask(reference, operation, baseline_of(spec))
        except BenchError as error:
            self._sessions.drop("reference")
            raise ReferenceLost from error


def baseline_of(spec: TrialSpec) -> TrialSpec:
    """The baseline of a trial, measured as that is, on the first of its GPUs."""
    own = {"gpus": 1, "device": spec.device.with_gpus(1), "exported": ""}
    return spec.model_copy(update={"recipe": {}, "setup_key": "", "output_key": "", **own})


def _wants_baseline(trial: TrialUnderWay) -> bool:
    return trial.spec.settings.reference != "probe" and not trial.alone


def _baseline_bytes(trial: TrialUnderWay) -> float:
    """What the baseline's session will take of the device's memory: its measured peak, or from
    its weights while it is the baseline itself that is measured."""
    known = trial.metrics if trial.spec.baseline is None else trial.spec.baseline
    kind = trial.spec.device.kind
    peak = known.get("host_model_peak_bytes" if kind == "cpu" else "device_peak_process_bytes")
    if peak is not None and peak.value is not None:
        return peak.value
    weights = known.get("weights_bytes")
    return _ROOM_RATIO * (weights.value if weights and weights.value else 0.0)
