"""Requests that come as text: the same tokens whoever makes them, and whenever."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from autotune.bench.engines.intake import INTAKE, Ahead, Intake
from autotune.bench.engines.serving import Server
from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.bench.texts import text_requests
from autotune.bench.tokenizer import PromptTokenizer
from autotune.bench.tokens import load_tokens
from autotune.config import WorkloadFile
from autotune.engine import Request, TextRequest
from autotune.errors import InputError
from autotune.messages import ModelRef
from autotune.plugin import Unsupported
from autotune.traffic import Traffic
from autotune.workload.text import build_workload

TRAFFIC = Traffic(
    requests=8,
    prompt_tokens_spread_ratio=0.5,
    new_tokens_spread_ratio=0.5,
    repeat_ratio=0.25,
    shared_prefix_tokens=7,
    as_text=True,
)
TEXT = " ".join(f"word{i} comes after word{i - 1}," for i in range(1, 400))


@pytest.fixture
def model(tiny_model: Path) -> ModelRef:
    return ModelRef(path=str(tiny_model), name="m", task="causal-lm", fingerprint="0" * 64)


@pytest.fixture
def tokenizer(model: ModelRef) -> PromptTokenizer:
    return PromptTokenizer(model)


@pytest.fixture
def requests(tokenizer: PromptTokenizer) -> tuple[TextRequest, ...]:
    drawn = TRAFFIC.draw(20, 4, seed=1)
    return text_requests(drawn, TRAFFIC.shared_prefix_tokens, TEXT, tokenizer)


def ids_of(request: TextRequest) -> list[int]:
    return request.tokenize(request.text, request.prompt_tokens)


def test_each_text_has_the_tokens_of_its_prompt_and_hardly_more(
    requests: tuple[TextRequest, ...], tokenizer: PromptTokenizer
) -> None:
    for request, one in zip(requests, TRAFFIC.draw(20, 4, seed=1), strict=True):
        assert len(ids_of(request)) == request.prompt_tokens == one.prompt_tokens
        assert request.new_tokens == one.new_tokens
        whole = tokenizer.tokenizer(request.text)["input_ids"]
        assert ids_of(request) == whole[: one.prompt_tokens]
        assert len(tokenizer.ids(request.text, 1000)) <= one.prompt_tokens + 3
    assert len({request.text for request in requests}) == 6
    assert len({tuple(ids_of(request)[:7]) for request in requests}) == 1
    assert len({tuple(ids_of(request)) for request in requests}) == 6


def test_a_text_that_is_too_short_is_named(tokenizer: PromptTokenizer) -> None:
    drawn = TRAFFIC.draw(200, 4, seed=1)
    with pytest.raises(InputError, match="give a longer text"):
        text_requests(drawn, 0, TEXT[:150], tokenizer)


class Joining(PromptTokenizer):
    """One whose first token depends on the whole text."""

    def plain_ids(self, text: str) -> list[int]:
        return [sum(map(ord, text)), *super().plain_ids(text)]


def test_a_prefix_that_no_tokenizer_keeps_apart_is_refused(model: ModelRef) -> None:
    drawn = TRAFFIC.draw(20, 4, seed=1)
    with pytest.raises(InputError, match="7 first tokens cannot be the same"):
        text_requests(drawn, 7, TEXT, Joining(model))


def test_the_workload_is_cut_as_text_where_it_says_so(model: ModelRef) -> None:
    given = WorkloadFile(
        prompt_tokens=16, new_tokens=4, evaluation_positions=64, calibration_sequences=2,
        evaluation_window_tokens=32, traffic=TRAFFIC,
    )  # fmt: skip
    workload = build_workload(given, model, seed=3)
    first, again = (load_tokens(model, workload, torch.device("cpu")).traffic for _ in range(2))
    texts = [request.text for request in first if isinstance(request, TextRequest)]
    assert len(texts) == TRAFFIC.requests
    assert texts == [request.text for request in again if isinstance(request, TextRequest)]


HOW: list[dict[str, Any]] = [
    {},
    {"tokenize": "thread", "tokenize_ahead": 1},
    {"tokenize": "thread", "tokenize_ahead": 16},
]


@pytest.mark.parametrize("batching", ["arrival", "sorted", "continuous", "packed"])
def test_who_tokenizes_changes_no_token(
    requests: tuple[TextRequest, ...],
    make_model: Any,
    servers: list[Server],
    batching: str,
) -> None:
    engine = make_model()
    plain = [Request(torch.tensor(ids_of(r)), r.new_tokens) for r in requests]
    engine.serve(plain, engine.resolve({"batch_size": 3, "batching": batching}))
    expected = [answer.tokens for answer in servers[-1].answers]
    for how in HOW:
        args = {"batch_size": 3, "batching": batching, **how}
        timings = engine.serve(requests, engine.resolve(args))
        prompts = [answer.request.prompt.tolist() for answer in servers[-1].answers]
        assert prompts == [ids_of(request) for request in requests]
        assert [answer.tokens for answer in servers[-1].answers] == expected
        assert all(t.start < t.first for t in timings)
    engine.forget()


@pytest.fixture
def make_model(tokenizer: PromptTokenizer) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    def build(device: str = "cpu") -> TorchGenerator:
        torch.manual_seed(3)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        config = LlamaConfig(
            vocab_size=len(tokenizer.tokenizer), num_attention_heads=4, **sizes,
            initializer_range=0.3, eos_token_id=None,
        )  # fmt: skip
        return TorchGenerator(LlamaForCausalLM(config).double().eval().to(device), new_tokens=4)

    return build


class Noting:
    """Tokenizes, and notes what and in which thread."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.threads: set[str] = set()

    def __call__(self, text: str, most: int) -> list[int]:
        self.texts.append(text)
        self.threads.add(threading.current_thread().name)
        return [len(text)] * most


def intake_of(noting: Noting, ahead: Ahead, **how: Any) -> Intake:
    requests = [TextRequest("x" * i, i, 1, noting) for i in range(1, 7)]
    if how:
        ahead.start(how["tokenize"], requests[0])
    return Intake(requests, {**INTAKE, **how}, ahead)


def test_nothing_is_tokenized_before_it_is_taken_unless_asked_for() -> None:
    noting = Noting()
    intake = intake_of(noting, Ahead())
    assert [len(r.prompt) for r in intake.take(2, of_one_adapter=True)] == [1, 2]
    assert noting.texts == ["x", "xx"]
    assert len(intake) == 4
    assert noting.threads == {threading.current_thread().name}


@pytest.mark.parametrize("how", ["inline", "thread"])
def test_requests_of_one_adapter_are_taken_together(how: str) -> None:
    def taken(of_one_adapter: bool) -> list[list[int | None]]:
        intake, sizes = Intake(requests, {**INTAKE, "tokenize": how}, ahead), []
        while intake:
            sizes.append([one.adapter for one in intake.take(3, of_one_adapter)])
        return sizes

    def tokenize(text: str, most: int) -> list[int]:
        return [1] * len(text)

    requests = [TextRequest("x", 1, 1, tokenize, number) for number in (0, 0, 1, 0, 0, 0, 0)]
    ahead = Ahead()
    ahead.start(how, requests[0])
    try:
        assert taken(of_one_adapter=True) == [[0, 0], [1], [0, 0, 0], [0]]
        assert taken(of_one_adapter=False) == [[0, 0, 1], [0, 0, 0], [0]]
    finally:
        ahead.close()


def test_a_thread_is_as_many_requests_ahead_as_is_said() -> None:
    noting, ahead = Noting(), Ahead()
    intake = intake_of(noting, ahead, tokenize="thread", tokenize_ahead=2)
    assert noting.texts == []
    (first,) = intake.take(1, of_one_adapter=False)
    assert ahead._executor is not None
    ahead._executor.submit(int).result()  # comes after what has begun
    ahead.close()
    assert first.prompt.tolist() == [1]
    assert noting.texts == ["x", "xx", "xxx"]
    assert len(intake) == 5
    assert all(name.startswith("tokenizer") for name in noting.threads)


def test_a_process_has_a_tokenizer_of_its_own_and_ends_when_it_is_let_go(
    requests: tuple[TextRequest, ...], make_model: Any, servers: list[Server]
) -> None:
    engine = make_model()
    run_args = engine.resolve({"tokenize": "process", "tokenize_ahead": 2, "batch_size": 3})
    pids = set()
    try:
        for _ in range(2):  # it is kept from one traffic to the next
            engine.serve(requests, run_args)
            prompts = [answer.request.prompt.tolist() for answer in servers[-1].answers]
            assert prompts == [ids_of(request) for request in requests]
            pids.add(engine._ahead._executor.submit(os.getpid).result())
        assert " MiB of the host's memory" in engine.notes()[0]
    finally:
        engine.forget()
    (pid,) = pids
    assert pid != os.getpid()
    assert not Path(f"/proc/{pid}").exists()
    assert engine.notes() == ()


class Prompt(torch.Tensor):
    """Notes what is asked of it: without a GPU torch pins nothing."""

    asked: tuple[str, ...] = ()

    def pin_memory(self, device: Any = None) -> Any:
        self.asked += ("pinned",)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += (f"copied, non_blocking={kwargs['non_blocking']}",)
        return self.as_subclass(torch.Tensor)


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        ("direct", ("copied, non_blocking=False",)),
        ("pinned", ("pinned", "copied, non_blocking=True")),
    ],
)
def test_prompts_are_pinned_before_they_are_copied_without_waiting(
    make_model: Any, transfer: str, expected: tuple[str, ...]
) -> None:
    engine = make_model()
    run_args = engine.resolve({"transfer": transfer, "batch_size": 2})
    prompts = [torch.arange(5, 9 + i).as_subclass(Prompt) for i in range(3)]
    server = Server(engine._rows, torch.device("cpu"), "sdpa", run_args, Ahead())
    with torch.inference_mode():
        server.serve([Request(prompt, 2) for prompt in prompts])
    assert [prompt.asked for prompt in prompts] == [expected] * 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pinned_prompts_give_the_same_tokens_on_a_gpu(
    requests: tuple[TextRequest, ...], make_model: Any, servers: list[Server]
) -> None:
    engine = make_model("cuda")
    said = []
    for how in ({}, {"transfer": "pinned"}, {"transfer": "pinned", "tokenize": "thread"}):
        engine.serve(requests, engine.resolve({"batch_size": 3, **how}))
        said.append([answer.tokens for answer in servers[-1].answers])
        pinned = [answer.request.prompt.is_pinned() for answer in servers[-1].answers]
        assert all(pinned) if how else not any(pinned)
    assert said[0] == said[1] == said[2]
    engine.forget()


def test_a_prompt_begins_as_the_tokenizer_begins_it(
    model: ModelRef, tokenizer: PromptTokenizer, tmp_path: Path
) -> None:
    adding, bos = tokenizer.tokenizer, tokenizer.tokenizer.bos_token
    adding.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, adding.bos_token_id)]
    )
    adding.save_pretrained(tmp_path)
    found = PromptTokenizer(model.model_copy(update={"path": str(tmp_path)}))
    assert tokenizer.ids(TEXT, 9)[0] != adding.bos_token_id == found.ids(TEXT, 9)[0]
    assert found.ids(TEXT, 9) == found.tokenizer(TEXT)["input_ids"][:9]


def test_a_pickled_tokenizer_loads_what_it_needs(tokenizer: PromptTokenizer) -> None:
    sent = pickle.dumps(tokenizer.ids)
    assert len(sent) < 2000
    assert pickle.loads(sent)(TEXT, 30) == tokenizer.ids(TEXT, 30)


def test_an_error_of_the_thread_is_the_request_s() -> None:
    def fail(text: str, most: int) -> list[int]:
        raise ValueError("no such character")

    ahead, request = Ahead(), TextRequest("a", 1, 1, fail)
    ahead.start("thread", request)
    intake = Intake([request], {**INTAKE, "tokenize": "thread"}, ahead)
    with pytest.raises(ValueError, match="no such character"):
        intake.take(1, of_one_adapter=False)
    ahead.close()


def test_what_cannot_be_done_is_refused(chaotic: Any, requests: tuple[TextRequest, ...]) -> None:
    engine = TorchGenerator(chaotic, new_tokens=4)
    plain = [Request(torch.tensor([5, 6]), 2)]
    with pytest.raises(Unsupported, match=r"workload\.traffic\.as_text: true"):
        engine.serve(plain, engine.resolve({"tokenize": "thread"}))
    with pytest.raises(Unsupported, match="pinned memory is for copies to a GPU"):
        engine.serve(plain, engine.resolve({"transfer": "pinned"}))
