"""Aims: one word for what a study wants, whatever its model does and whatever it runs on."""

from __future__ import annotations

AIMS: dict[str, str] = {
    "throughput": "tokens per second, or samples per second",
    "latency": "time to the end of a request",
    "first_token": "time to the first token; of a model that does not generate, its latency",
    "memory": "peak of the model's memory on its device",
    "weights": "size of the weights in memory",
    "disk": "size of the weights in a file",
    "loading": "time to load the weights",
    "energy": "energy per token, or per sample",
    "accuracy": "distance of the outputs from the baseline's",
}
"""Word → what it stands for."""

DEFAULT_AIMS = ("throughput", "memory", "energy", "accuracy")
"""Those of a study that names none."""


def objective(name: str, task: str, device_kind: str) -> str:
    """The metric that an aim stands for; the name of a metric stands for itself.

    Args:
        name: An aim or a metric.
        task: ``causal-lm``, ``sequence-classification`` or ``feature-extraction``.
        device_kind: ``cpu`` or ``cuda``.
    """
    generates, embeds = task == "causal-lm", task == "feature-extraction"
    metrics = {
        "throughput": "output_tokens_per_second" if generates else "samples_per_second",
        "latency": "e2e_latency_seconds",
        "first_token": "ttft_seconds" if generates else "e2e_latency_seconds",
        "memory": "host_model_peak_bytes" if device_kind == "cpu" else "device_peak_process_bytes",
        "weights": "weights_bytes",
        "disk": "weights_disk_bytes",
        "loading": "load_seconds",
        "energy": "energy_per_output_token_joules" if generates else "energy_per_sample_joules",
        "accuracy": "embedding_cosine_distance" if embeds else "kld_mean_nats",
    }
    return metrics.get(name, name)
