"""Task files are checked at the door: which file, which line, what was given, what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import InputError
from autotune.messages import ModelRef
from autotune.workload import tasks
from autotune.workload.labelled import class_indices, class_names, read_labelled
from autotune.workload.tasks import check_tasks, read_tasks

FIXTURES = Path(__file__).parents[1] / "fixtures" / "tasks"
YAML = (FIXTURES / "keywords.yaml").read_text(encoding="utf-8")


def write(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return str(folder / name)


def model(folder: Path, task: str, **config: Any) -> ModelRef:
    write(folder, "config.json", json.dumps(config))
    return ModelRef(path=str(folder), name="m", task=task, fingerprint="0" * 64)


def test_tasks_are_named_and_hashed() -> None:
    found = read_tasks([str(FIXTURES / "keywords.yaml"), str(FIXTURES / "moods.csv")])
    assert [(t.name, t.kind) for t in found] == [("keywords", "lm-eval"), ("moods", "labelled")]
    assert len({t.identity for t in found}) == 2


def test_identity_follows_the_data_an_include_and_the_code(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", YAML.replace("task: keywords", "doc: !function code.f"))
    path = write(tmp_path, "own.yaml", "include: base.yaml\ntask: own\n")
    seen = set()
    for name, content in (("keywords.jsonl", "{}"), ("keywords.jsonl", "{ }"), ("code.py", "1")):
        write(tmp_path, name, content)
        (found,) = read_tasks([path])
        assert found.name == "own"
        seen.add(found.identity)
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", "", "a.jsonl has no rows; each holds a text and a label"),
        ("a.csv", "text,label\n", "a.csv has no rows"),
        ("a.csv", "", "a.csv has no rows"),
        ("a.jsonl", '\n{"text": "x"', """a.jsonl, line 2: no JSON object: '{"text": "x"'"""),
        ("a.jsonl", "[1]", "line 1: no JSON object"),
        ("a.jsonl", '{"text": " ", "label": 1}', "line 1: the text is ' '; expected words"),
        ("a.jsonl", '{"text": "x", "label": true}', "line 1: the label is True; expected the"),
        ("a.jsonl", '{"text": "x"}', "line 1: the label is None"),
        ("a.csv", "text,lable\nx,y\n", "line 1: the columns are text, lable; needed: text, label"),
        ("a.csv", "text,label\nx,1\ny\n", "a.csv, line 3: the label is None"),
        ("a.csv", 'text,label\n"x,1\n', "line 2: no CSV: unexpected end"),
        ("a.txt", "x", "allowed: labelled texts (.jsonl, .csv), a task of lm-eval (.yaml)"),
        ("a.yaml", "just words", "must hold keys and values"),
        ("a.yaml", "task: [", "is not valid YAML"),
        ("a.yaml", "group: g\ntask: [a, b]", "names no single task"),
        ("a.yaml", "task: a\ninclude: a.yaml", "includes itself"),
        ("a.yaml", "task: a\ninclude: b.yaml", "b.yaml as UTF-8: [Errno 2]"),
        ("a.yaml", YAML.replace("multiple_choice", "loglikelihood_rolling"), "output_type"),
        ("a.yaml", YAML.replace("metric: acc", "metric: bleu"), "measures bleu; one of these"),
        ("a.yaml", YAML.replace("path: json", "path: org/data"), "data from 'org/data'; bench"),
        ("a.yaml", YAML, "needs the data file"),
    ],
)
def test_wrong_task_file_is_refused(tmp_path: Path, name: str, content: str, words: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(InputError) as refused:
        read_tasks([path])
    assert words in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_absent_file_and_equal_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the task file .*none\.csv"):
        read_tasks([str(tmp_path / "none.csv")])
    row = '{"text": "x", "label": 1}'
    twice = [write(tmp_path, "a.jsonl", row), write(tmp_path, "a.csv", "text,label\nx,1\n")]
    with pytest.raises(InputError, match="two task files have the name 'a'"):
        read_tasks(twice)


def test_missing_lm_eval_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "lm_eval_version", lambda: None)
    with pytest.raises(InputError, match=r"pip install 'autotune\[lm-eval\]'"):
        read_tasks([str(FIXTURES / "keywords.yaml")])


@pytest.mark.parametrize(
    ("task", "file", "words"),
    [
        ("causal-lm", "moods.csv", "causal-lm model: give a task of lm-eval"),
        ("sequence-classification", "keywords.yaml", "give labelled texts"),
        ("feature-extraction", "moods.csv", "task files are of no use for it"),
    ],
)
def test_task_of_another_kind_of_model_is_refused(
    tmp_path: Path, task: str, file: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check_tasks(read_tasks([str(FIXTURES / file)]), model(tmp_path, task))


def test_unknown_label_is_refused_with_the_nearest(tmp_path: Path) -> None:
    names = {"0": "sad", "1": "glad"}
    bert = model(tmp_path, "sequence-classification", id2label=names)
    check_tasks(read_tasks([str(FIXTURES / "moods.csv")]), bert)
    path = write(tmp_path, "a.csv", "text,label\nx,glad\ny,gladd\n")
    with pytest.raises(InputError) as refused:
        check_tasks(read_tasks([path]), bert)
    assert "a.csv, line 3: no label named 'gladd'; did you mean 'glad'?" in str(refused.value)
    assert "allowed: glad, sad, or 0 to 1" in str(refused.value)


def test_labels_are_names_or_indices(tmp_path: Path) -> None:
    path = Path(write(tmp_path, "a.csv", "label,id,text\n1,7,x\nsad,8,y\n"))
    assert class_indices(path, read_labelled(path), ["sad", "glad"]) == [1, 0]
    assert class_names({}) == ["LABEL_0", "LABEL_1"]
    assert class_names({"id2label": {"10": "k", "2": "b"}}) == ["b", "k"]
