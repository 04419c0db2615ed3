"""A trial against the baseline, in words."""

from __future__ import annotations

from autotune.front import against_baseline, ratio_to_baseline
from autotune.messages import Grade, Measurement, Metrics

SPEED, MEMORY, LOSS = (
    "output_tokens_per_second",
    "device_peak_process_bytes",
    "kld_mean_nats",
)
OBJECTIVES = (SPEED, MEMORY, LOSS)


def measured(value: float, noise_ratio: float = 0.0) -> Measurement:
    width = value * noise_ratio
    return Measurement(value=value, unit="", ci_low=value - width, ci_high=value + width)


def metrics(*values: float) -> Metrics:
    pairs = zip(OBJECTIVES, values, strict=False)
    return {name: measured(value) for name, value in pairs}


def test_against_baseline_in_words() -> None:
    baseline = {**metrics(100, 1000, 0), "weights_bytes": measured(1000)}
    mine = {**metrics(250, 1004, 0.0031), "weights_bytes": measured(520)}
    mine[SPEED] = mine[SPEED].model_copy(update={"ratio": 2.1})
    assert against_baseline(mine, baseline, OBJECTIVES) == (
        "2.10\N{MULTIPLICATION SIGN} output tokens/s, same device peak, "
        "KLD 0.0031, \N{MINUS SIGN}48 % weights"
    )


def test_against_baseline_marks_noise_and_gaps() -> None:
    noise = {"ratio": 1.02, "ratio_ci_low": 0.99, "ratio_ci_high": 1.04}
    speed = measured(102).model_copy(update=noise)
    words = against_baseline({SPEED: speed}, metrics(100, 1000), (SPEED, MEMORY))
    assert words == (
        "1.02\N{MULTIPLICATION SIGN} output tokens/s (within noise), device peak not measured"
    )
    disturbed = speed.model_copy(update={"grade": Grade.C})
    words = against_baseline({SPEED: disturbed}, metrics(100), (SPEED,))
    assert words == "1.02\N{MULTIPLICATION SIGN} output tokens/s (disturbed)"
    assert against_baseline(metrics(1, 1, 0.00003), {}, (LOSS,)) == "KLD <0.0001"
    assert against_baseline(metrics(10), {}, (SPEED,)) == "output tokens/s 10 1/s"


def test_values_whose_intervals_overlap_are_within_noise() -> None:
    own = {MEMORY: measured(1000, 0.3)}
    words = against_baseline({MEMORY: measured(600, 0.3)}, own, (MEMORY,))
    assert words == "\N{MINUS SIGN}40 % device peak (within noise)"
    assert "noise" not in against_baseline({MEMORY: measured(400, 0.3)}, own, (MEMORY,))


def test_ratio_prefers_the_paired_one() -> None:
    paired = measured(10).model_copy(update={"ratio": 3.0})
    assert ratio_to_baseline(paired, measured(5)) == 3.0
    assert ratio_to_baseline(measured(10), measured(5)) == 2.0
    assert ratio_to_baseline(measured(10), measured(0)) is None
    assert ratio_to_baseline(None, measured(5)) is None
