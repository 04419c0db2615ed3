"""Tuning a model with Optuna alone, as one writes it without autotune.

    python benchmarks/plain_optuna.py --model DIR --text FILE --log FILE [--trials 100] [--seed 0]

The space of studies/recorded.yaml under Optuna's default sampler. Each trial is a fresh process
that loads the model, changes it, and measures everything: tokens per second, peak memory,
divergence from the original's outputs. One line of JSON is appended to the log for
each trial: its params, what came of it, and the seconds since the beginning.
benchmarks/wall_clock.py compares it with autotune.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

SPACE: dict[str, list[Any]] = {
    "batch.size": [1, 2, 4, 8, 16],
    "precision.dtype": ["auto", "bfloat16"],
    "quantize.scheme": ["none", "int8_weight_only"],
    "prune.method": ["none", "depth", "structured"],
    "threads.intra_op": [0, 1],
    "cache.kind": ["dynamic", "static"],
}
DIRECTIONS: list[Literal["maximize", "minimize"]] = ["maximize", "minimize", "minimize"]
"""Of tokens per second, peak of memory in bytes, mean divergence in nats."""
PROMPT_TOKENS, NEW_TOKENS, WINDOW_TOKENS, WINDOWS = 32, 8, 128, 9
TIMED_SECONDS, WARMUPS, PRUNED_RATIO = 1.0, 3, 0.3


def measure(params: dict[str, Any], model_path: str, text: Path, reference: Path) -> list[float]:
    """One full evaluation, in a process of its own."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if params["threads.intra_op"]:
        torch.set_num_threads(params["threads.intra_op"])
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=params["precision.dtype"])
    model.eval()
    prune(model, params["prune.method"])
    if params["quantize.scheme"] == "int8_weight_only":
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(model, Int8WeightOnlyConfig())
    tokens = AutoTokenizer.from_pretrained(model_path)(text.read_text(encoding="utf-8"))
    ids = torch.tensor(tokens["input_ids"])
    with torch.inference_mode():
        loss = divergence(model, ids[: WINDOWS * WINDOW_TOKENS], reference)
        speed = tokens_per_second(model, ids, params)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [speed, float(peak), loss]


def prune(model: Any, method: str) -> None:
    """Leaves out layers from the middle, or the neurons with the smallest output weights."""
    import torch

    layers = model.model.layers
    if method == "depth":
        kept = len(layers) - max(1, round(PRUNED_RATIO * len(layers)))
        first = (kept + 1) // 2
        chosen = [*layers[:first], *layers[len(layers) - (kept - first) :]]
        model.model.layers = torch.nn.ModuleList(chosen)
        model.config.num_hidden_layers = len(chosen)
        for i, layer in enumerate(chosen):
            layer.self_attn.layer_idx = i
    if method == "structured":
        for layer in layers:
            mlp = layer.mlp
            count = round((1 - PRUNED_RATIO) * mlp.down_proj.in_features)
            best = mlp.down_proj.weight.norm(dim=0).topk(count).indices.sort().values
            mlp.down_proj = linear(mlp.down_proj.weight[:, best])
            mlp.gate_proj = linear(mlp.gate_proj.weight[best])
            mlp.up_proj = linear(mlp.up_proj.weight[best])


def linear(weight: Any) -> Any:
    """A layer of these weights."""
    import torch

    rows, columns = weight.shape
    made = torch.nn.Linear(columns, rows, bias=False, dtype=weight.dtype)
    made.weight = torch.nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    return made


def divergence(model: Any, ids: Any, reference: Path) -> float:
    """Mean divergence from the original's outputs, which the first trial's process has kept."""
    import torch

    logits = model(ids.view(WINDOWS, WINDOW_TOKENS)).logits.float().log_softmax(-1)
    if not reference.exists():
        torch.save(logits, reference)
    own = torch.load(reference)
    return float((own.exp() * (own - logits)).sum(-1).mean())


def tokens_per_second(model: Any, ids: Any, params: dict[str, Any]) -> float:
    """Of greedy decoding."""
    size = params["batch.size"]
    prompts = ids[: size * PROMPT_TOKENS].view(size, PROMPT_TOKENS)
    kind = {"cache_implementation": "static"} if params["cache.kind"] == "static" else {}

    def request() -> None:
        model.generate(
            prompts,
            do_sample=False,
            min_new_tokens=NEW_TOKENS,
            max_new_tokens=NEW_TOKENS,
            pad_token_id=0,
            **kind,
        )

    for _ in range(WARMUPS):
        request()
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < TIMED_SECONDS:
        request()
        count += 1
    tokens: int = count * size * NEW_TOKENS
    return tokens / (time.perf_counter() - begun)


def tune(given: argparse.Namespace) -> None:
    """The study."""
    import optuna

    begun = time.monotonic()
    original = {name: values[0] for name, values in SPACE.items()}

    def objective(trial: optuna.Trial) -> list[float]:
        params = {name: trial.suggest_categorical(name, v) for name, v in SPACE.items()}
        values = evaluate(params, given)
        line = {"params": params, "values": values, "seconds": time.monotonic() - begun}
        with given.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        return values

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=DIRECTIONS)
    if given.seed is not None:  # of the default sampler, whichever it is
        default: Any = type(study.sampler)
        study.sampler = default(seed=given.seed)
    study.enqueue_trial(original)
    study.optimize(objective, n_trials=given.trials)


def evaluate(params: dict[str, Any], given: argparse.Namespace) -> list[float]:
    """A trial's values, from a fresh process."""
    command = [sys.executable, __file__, "--measure", json.dumps(params)]
    command += ["--model", given.model, "--text", str(given.text), "--log", str(given.log)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    values: list[float] = json.loads(ended.stdout.splitlines()[-1])
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--measure", help="params of one trial as JSON: measure it, and end")
    given = parser.parse_args()
    if given.measure:
        reference = given.log.with_suffix(".reference.pt")
        print(json.dumps(measure(json.loads(given.measure), given.model, given.text, reference)))
    else:
        tune(given)


if __name__ == "__main__":
    main()
