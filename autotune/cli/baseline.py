"""``autotune baseline``: measure a model as the framework runs it by default."""

from __future__ import annotations

from autotune.cli import options
from autotune.cli.bench import bench


def baseline(
    model: options.Model = None,
    task: options.Task = "auto",
    device: options.DeviceName = "auto",
    prompt_tokens: options.PromptTokens = None,
    new_tokens: options.NewTokens = None,
    text: options.Text = None,
    task_file: options.TaskFiles = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    json: options.AsJson = False,
) -> None:
    """Measure a model as the framework runs it by default.

    Example: autotune baseline --model demo
    """
    bench(
        [],
        model,
        None,
        task,
        device,
        prompt_tokens,
        new_tokens,
        text,
        task_file,
        output,
        trust_remote_code,
        allow_pickle,
        False,  # the baseline changes nothing
        json,
    )
