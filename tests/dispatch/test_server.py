"""A study, its dispatch table and a server, on a real model in real processes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

import autotune as public
from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.cli.__main__ import app
from autotune.config import StudyFile
from autotune.dispatch import DispatchTable, Point, read_table, write_table
from autotune.dispatch.measure import find_points
from autotune.dispatch.server import Server
from autotune.errors import AutotuneError, InputError
from autotune.execute.inline import InlineExecutor
from autotune.messages import TrialResult, TrialSpec
from autotune.registry import installed
from autotune.report.summary import StudySummary
from autotune.search.loop import Search
from autotune.search.observer import Observer
from autotune.search.plan import make_plan
from autotune.search.register import register
from autotune.store.store import Store
from autotune.testing import fake_result

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12], [20, 21, 22, 23, 24, 25, 26, 27]]


STUDY = StudyFile.model_validate(
    {
        "name": "s",
        "model": "set by the fixture",
        "device": "cpu",
        "plugins": {"precision": {"dtype": ["bfloat16"]}, "batch": {"size": [2]}},
        "objectives": ["output_tokens_per_second", "kld_mean_nats"],
        "confirm": {"processes": 0},
        "workload": {"prompt_tokens": 8, "new_tokens": 4, "evaluation_positions": 256},
        "measure": {
            **{"block_seconds": 0.02, "max_pairs": 6, "warmup_blocks": 3},
            # Such short blocks would all be of grade C.
            **{"worst_half_width_ratio": 1000, "worst_contention_ratio": 1},
        },
    }
)


@pytest.fixture
def searched(tiny_model: Path, tmp_path: Path) -> Path:
    """The output folder of a study whose own numbers are made up."""

    def measure(spec: TrialSpec) -> TrialResult:
        size = spec.recipe.get("batch", {}).get("size", 1)
        kld = 0.01 * ("precision" in spec.recipe)
        return fake_result(spec, output_tokens_per_second=10 * float(size), kld_mean_nats=kld)

    study = STUDY.model_copy(update={"model": str(tiny_model)})
    url = f"sqlite:///{tmp_path}/autotune.db"
    plan = make_plan(study, tmp_path, lambda *_: None)
    with Store.open(url) as store:
        register(plan, store, resume=False)
        Search(plan, store, url, lambda _: InlineExecutor(measure, 1), Observer()).run()
    return tmp_path


def dispatch(output: Path, *arguments: str) -> str:
    """Runs the command."""
    done = CliRunner().invoke(app, ["dispatch", "s", "--output", str(output), *arguments])
    if done.exception is not None:
        raise done.exception
    return done.stdout


@pytest.fixture
def folder(searched: Path) -> Path:
    """Of a study whose dispatch table serves single prompts exactly and pairs in bfloat16."""
    with Store.open(f"sqlite:///{searched}/autotune.db") as store:
        trials = store.trials("s")
    points = next(t.number for t in trials if set(t.recipe) == {"precision", "batch"})
    sizes = "--batch-sizes", "2,1", "--prompt-lengths", "8", "--json"
    shown = dispatch(searched, "--points", f"baseline,{points}", *sizes)
    table = read_table(searched / "s")
    assert DispatchTable.model_validate_json(shown) == table
    assert [(c.batch_size, c.prompt_tokens) for c in table.cells] == [(1, 8), (2, 8)]
    exact, rough = table.points
    assert (exact.name, exact.recipe) == ("baseline", {})
    assert (rough.name, set(rough.recipe)) == (str(points), {"precision"})
    assert rough.accuracy["kld_mean_nats"].value == 0.01
    for cell in table.cells:
        assert set(cell.measured) == {exact.name, rough.name}
        assert all(m.value and m.ci_low and m.grade for m in cell.measured.values())
        assert cell.chosen in cell.measured
    # Which is faster here does not decide the test.
    names = {1: exact.name, 2: rough.name}
    cells = [c.model_copy(update={"chosen": names[c.batch_size]}) for c in table.cells]
    write_table(table.model_copy(update={"cells": tuple(cells)}), searched / "s" / "dispatch.json")
    return searched / "s"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--points", "fastst"], "no pick named 'fastst'; did you mean 'fastest'"),
        (["--batch-sizes", "1,x"], "cannot read --batch-sizes '1,x'"),
        (["--objective", "kld_mean_nats"], "does not depend on the request"),
        (["--points", "1", "--constraint", "kld_mean_nats<=-1"], "nothing can meet"),
        (["--prompt-lengths", "99999"], "more than the 1024 positions"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(
    searched: Path, arguments: list[str], words: str
) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        dispatch(searched, *arguments)
    assert not (searched / "s" / "dispatch.json").exists()


def test_points_beyond_the_limits_and_twins_are_left_out(searched: Path) -> None:
    with Store.open(f"sqlite:///{searched}/autotune.db") as store:
        summary = StudySummary.of(store.study("s"), store.trials("s"))
    every = ["baseline", *(str(point.number) for point in summary.points)]
    assert [set(p.recipe) for p in found(summary, every)] == [set(), {"precision"}]
    limits = ["kld_mean_nats<=0.001"]
    assert [set(p.recipe) for p in found(summary, every, limits)] == [set()]
    lossy = next(str(p.number) for p in summary.points if "precision" in p.recipe)
    with pytest.raises(InputError, match="keeps the limits"):
        found(summary, [lossy], limits)
    assert {p.name for p in found(summary, [])} <= set(summary.picks)


def found(
    summary: StudySummary, names: list[str], limits: Sequence[str] = ()
) -> tuple[Point, ...]:
    return find_points(summary, names, limits, installed().plugins)


def test_a_point_that_sets_something_of_the_device_is_refused_before_anything_is_measured(
    searched: Path,
) -> None:
    with Store.open(f"sqlite:///{searched}/autotune.db") as store:
        summary = StudySummary.of(store.study("s"), store.trials("s"))
    lossy = next(point for point in summary.points if "precision" in point.recipe)
    power = {"power": {"cpu_governor": "powersave"}}
    held = replace(lossy, recipe=lossy.recipe | power)
    summary = replace(summary, picks={"greenest": held, "fastest": lossy})
    with pytest.raises(InputError, match=r"'greenest' was measured while cpu_governor=powersave"):
        found(summary, [])
    assert [p.name for p in found(summary, ["fastest"])] == ["fastest"]


def test_a_table_with_a_point_that_sets_something_of_the_device_is_not_served(
    folder: Path,
) -> None:
    table = read_table(folder)
    exact, rough = table.points
    power = {"power": {"gpu_limit_ratio": 0.8}}
    held = rough.model_copy(update={"recipe": rough.recipe | power})
    write_table(table.model_copy(update={"points": (exact, held)}), folder / "dispatch.json")
    with pytest.raises(InputError, match=r"gpu_limit_ratio=0\.8 was set of the device"):
        public.load(folder)


def expected(model: Path, prompts: list[list[int]], dtype: torch.dtype, count: int) -> Any:
    made = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).eval()
    engine = TorchGenerator(made, new_tokens=2)
    ids = {"input_ids": torch.tensor(prompts)}
    return engine.generate(ids, engine.resolve({}), count).tolist()


def cut(tokens: list[int]) -> tuple[int, ...]:
    return tuple(tokens[: tokens.index(1)] if 1 in tokens else tokens)


@pytest.mark.slow
def test_each_request_is_served_by_the_point_of_its_cell(folder: Path, tiny_model: Path) -> None:
    with public.load(folder) as server:
        one = server.generate(PROMPTS[:1], max_new_tokens=4)
        two = server.generate(PROMPTS, max_new_tokens=4)
        exact = expected(tiny_model, PROMPTS[:1], torch.float32, 4)
        rough = expected(tiny_model, PROMPTS, torch.bfloat16, 4)
        assert [a.token_ids for a in one] == [cut(t) for t in exact]
        assert [a.token_ids for a in two] == [cut(t) for t in rough]
        assert [a.recipe for a in one] == [{}]
        assert [set(a.recipe) for a in two] == [{"batch", "precision"}] * 2
        assert [a.cell.batch_size for a in (*one, *two)] == [1, 2, 2]
        assert {a.outside for a in (*one, *two)} == {""}

        check_texts(server, tiny_model)
        check_outside(server)
        check_joined(server)
        check_streamed(server, one[0].token_ids)
        with pytest.raises(InputError, match="none is empty"):
            server.generate([[]], max_new_tokens=4)
        with pytest.raises(InputError, match="no token 1024; this model has 1024, from 0 on"):
            server.generate([[5, 1024]], max_new_tokens=4)
        check_death(server, one[0].token_ids)
    with pytest.raises(AutotuneError, match="this server was closed"):
        server.generate(PROMPTS, max_new_tokens=4)
    foreign = read_table(folder).model_copy(update={"model_fingerprint": "other"})
    write_table(foreign, folder / "dispatch.json")
    with pytest.raises(InputError, match="are not those that the table was measured with"):
        public.load(folder / "front.json")


def check_texts(server: Server, model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    text = tokenizer.decode(PROMPTS[0])
    ids = tokenizer([text])["input_ids"]
    with pytest.warns(UserWarning, match="served by what was measured nearest to it"):
        (told,) = server.generate([text], max_new_tokens=5)
    (plain,) = server.generate(ids, max_new_tokens=5)
    assert told.token_ids == plain.token_ids
    assert told.text == tokenizer.decode(plain.token_ids)
    assert plain.text == ""


def check_outside(server: Server) -> None:
    with pytest.warns(UserWarning, match="prompt tokens: 3, measured 8"):
        (far,) = server.generate([[5, 6, 7]], max_new_tokens=4)
    assert far.outside == "prompt tokens: 3, measured 8"
    server.generate([[5, 6, 7]], max_new_tokens=4)  # it is said once


def check_joined(server: Server) -> None:
    """What waits while another request runs is joined, up to the largest batch measured."""
    answers: list[Any] = []
    running, held = threading.Event(), threading.Event()
    run = server._run

    def hold(batch: Any) -> None:
        running.set()
        held.wait(60)
        run(batch)

    server._run = hold  # type: ignore[method-assign]
    asks = [
        threading.Thread(target=lambda: answers.extend(server.generate(PROMPTS[:1], 4)))
        for _ in range(4)
    ]
    asks[0].start()
    assert running.wait(60)
    for ask in asks[1:]:
        ask.start()
    while len(server._waiting) < 3:
        time.sleep(0.01)
    held.set()
    for ask in asks:
        ask.join()
    server._run = run  # type: ignore[method-assign]
    assert sorted(a.batch_size for a in answers) == [1, 1, 2, 2]
    assert {a.cell.batch_size for a in answers if a.batch_size == 2} == {2}


def check_streamed(server: Server, tokens: tuple[int, ...]) -> None:
    """Each step of the engine is told by itself."""
    told: list[Sequence[int]] = []
    item = server.stream(PROMPTS[0], 4, told.append)
    assert item.answer.result(60).token_ids == tokens
    assert [list(step) for step in told] == [[token] for token in tokens]
    with pytest.raises(InputError, match="a prompt of 1 token or more"):
        server.stream([], 4, told.append)
    with pytest.raises(InputError, match="no token 1024"):
        server.stream([5, 1024], 4, told.append)


def check_death(server: Server, tokens: tuple[int, ...]) -> None:
    """A process that dies costs one request; the next one prepares it anew."""
    for sessions in server._sessions.values():
        sessions._held["candidate"][1].terminate()
    with pytest.raises(AutotuneError, match="was killed by SIGKILL"):
        server.generate(PROMPTS[:1], max_new_tokens=4)
    assert server.generate(PROMPTS[:1], max_new_tokens=4)[0].token_ids == tokens
