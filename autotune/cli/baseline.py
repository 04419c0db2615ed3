"""``autotune baseline``: measure a model as the framework runs it by default."""

from __future__ import annotations

from autotune.cli import options
from autotune.cli.bench import measure_and_print


def baseline(
    model: options.Model = None,
    task: options.Task = "auto",
    device: options.DeviceName = "auto",
    prompt_tokens: options.PromptTokens = None,
    new_tokens: options.NewTokens = None,
    text: options.Text = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    trust_remote_code: options.TrustRemoteCode = False,
    json: options.AsJson = False,
) -> None:
    """Measure a model as the framework runs it by default.

    Example: autotune baseline --model demo
    """
    given = {
        "model": model,
        "task": None if task == "auto" else task,
        "device": None if device == "auto" else device,
        "workload.prompt_tokens": prompt_tokens,
        "workload.new_tokens": new_tokens,
        "workload.evaluation_text": str(text) if text else None,
        "trust_remote_code": trust_remote_code,
    }
    measure_and_print(None, given, [], output, json)
