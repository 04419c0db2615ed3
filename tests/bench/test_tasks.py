"""Tasks through the bench process, held against the model itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.bench.meters.lm_eval_items import weights_left_alone
from autotune.bench.meters.tasks import Items, compare, score_metrics
from autotune.errors import BenchError
from autotune.messages import TaskScore
from autotune.pairing import mcnemar

FIXTURES = Path(__file__).parents[1] / "fixtures" / "tasks"


def _classifier(folder: Path) -> Any:
    """A random classifier that knows the words of the fixture."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "a", "of", "and", "to", "in"]
    words += sorted({w for line in _rows() for w in line[0].split()})
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, sep_token="[SEP]", **special)
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        id2label={0: "sad", 1: "glad"},
        label2id={"sad": 0, "glad": 1},
        initializer_range=0.5,
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    return model, fast


def _rows() -> list[tuple[str, int]]:
    lines = (FIXTURES / "moods.csv").read_text(encoding="utf-8").splitlines()[1:]
    index = {"sad": 0, "glad": 1, "0": 0, "1": 1}
    pairs = (line.rsplit(",", 1) for line in lines)
    return [(text.strip('"'), index[label]) for text, label in pairs]


@pytest.mark.slow
def test_labelled_accuracy_is_the_models_own(
    autotune: Callable[..., Any], study: Callable[..., Path], tmp_path: Path
) -> None:
    model, tokenizer = _classifier(tmp_path / "classifier")
    path = study(model=str(tmp_path / "classifier"))
    arguments = ("--task-file", FIXTURES / "moods.csv", "--set", "precision.dtype=bfloat16")
    done = autotune("bench", "--study", path, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)

    right = 0
    with torch.inference_mode():
        for text, label in _rows():
            logits = model(**tokenizer(text, return_tensors="pt")).logits
            right += int(logits.argmax()) == label
    assert 0 < right < 30
    (score,) = result["tasks"]
    assert (score["name"], score["n"]) == ("moods", 30)
    assert score["correct"] - score["gained"] + score["lost"] == right, "the baseline's"
    assert result["metrics"]["samples_per_second"]["ratio"] > 0
    changed = score["gained"] + score["lost"]
    assert result["metrics"]["task_flip_ratio"]["value"] == pytest.approx(changed / 30)


def test_lm_eval_may_not_tie_weights_again(llama: Any) -> None:
    own = llama.lm_head.weight.detach() + 1
    llama.lm_head.weight = torch.nn.Parameter(own, requires_grad=False)
    with weights_left_alone(llama):
        llama.tie_weights()
    assert torch.equal(llama.lm_head.weight, own), "as a plugin left it"
    llama.tie_weights()
    assert llama.lm_head.weight is llama.model.embed_tokens.weight


def test_items_are_paired_one_by_one() -> None:
    names = ("a", "b", "c", "d")
    before = Items(names, (True, True, False, False))
    score = compare("t", Items(names, (True, False, True, False)), before)
    assert (score.n, score.correct, score.gained, score.lost) == (4, 2, 1, 1)
    with pytest.raises(BenchError, match="'t' asked other things than of the baseline"):
        compare("t", Items(("a", "b", "x", "d"), before.correct), before)


def test_metrics_are_of_all_items_together() -> None:
    scores = [
        TaskScore(name="a", n=100, correct=70, gained=2, lost=5),
        TaskScore(name="b", n=300, correct=150, gained=1, lost=0),
    ]
    found = score_metrics(scores)
    assert found["task_accuracy"].value == pytest.approx(220 / 400)
    assert found["task_accuracy_delta"].value == pytest.approx(-2 / 400)
    assert found["task_flip_ratio"].value == pytest.approx(8 / 400)
    assert {m.n for m in found.values()} == {400}
    low, high = found["task_accuracy_delta"].ci_low, found["task_accuracy_delta"].ci_high
    assert low is not None
    assert high is not None
    assert low < -2 / 400 < 0 < high, mcnemar(3, 5)
    own = [TaskScore(name="a", n=100, correct=70)]
    assert list(score_metrics(own)) == ["task_accuracy"]
