"""What OpenAI's own client gets from a real server over a real socket."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from openai_support.served import NAME, TEXT, Served

USER = [{"role": "user", "content": "Say something about lists"}]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def expected(tiny_model: Path, tokenizer: Any) -> Any:
    """What transformers itself says: text → its next tokens, as text."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()

    @torch.inference_mode()
    def continued(text: str, count: int) -> str:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        begin = ids.shape[1]
        for _ in range(count):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
        return str(tokenizer.decode(ids[0, begin:], skip_special_tokens=True))

    return continued


def test_the_model_is_listed(client: openai.OpenAI, served: Served) -> None:
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).owned_by == "autotune"
    assert httpx.get(f"{served.url}/health").status_code == 200
    said = served.log.read_text()
    assert f"serving {NAME} at {served.url}/v1" in said
    assert f"curl {served.url}/v1/chat/completions" in said
    assert "no chat template: of a chat it reads each message as a line" in said


@pytest.mark.parametrize("length", ["short", "long"], ids=["plain", "drafts"])
def test_a_completion_is_the_models_own(
    client: openai.OpenAI, expected: Any, tokenizer: Any, length: str
) -> None:
    text = TEXT if length == "short" else " ".join([TEXT] * 6)
    answer = client.completions.create(model=NAME, prompt=text, max_tokens=24, temperature=0)
    (choice,) = answer.choices
    assert choice.text == expected(text, 24)
    assert choice.finish_reason == "length"
    assert answer.usage is not None
    prompt = len(tokenizer(text)["input_ids"])
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (prompt, 24)
    assert usage.total_tokens == prompt + 24
    chunks = list(client.completions.create(model=NAME, prompt=text, max_tokens=24, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == choice.text
    assert len(chunks) > 3
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "length"]


def test_several_prompts_and_token_ids(
    client: openai.OpenAI, expected: Any, tokenizer: Any
) -> None:
    texts = [TEXT, "import os", TEXT]
    wanted = [expected(text, 16) for text in texts]
    told = client.completions.create(model=NAME, prompt=texts)  # 16 tokens, as OpenAI's own
    assert [(c.index, c.text) for c in told.choices] == list(enumerate(wanted))
    ids = [tokenizer(text)["input_ids"] for text in texts]
    told = client.completions.create(model=NAME, prompt=ids)
    assert [choice.text for choice in told.choices] == wanted
    told = client.completions.create(model=NAME, prompt=ids[0])
    assert [choice.text for choice in told.choices] == wanted[:1]
    parts = ["", "", ""]
    for chunk in client.completions.create(model=NAME, prompt=texts, stream=True):
        parts[chunk.choices[0].index] += chunk.choices[0].text
    assert parts == wanted


def test_a_chat_without_a_template_is_written_as_the_server_says(
    client: openai.OpenAI, expected: Any
) -> None:
    messages: Any = [{"role": "developer", "content": "Be brief."}, *USER]
    parts = [{"type": "text", "text": "Say something "}, {"type": "text", "text": "about lists"}]
    messages[1] = {"role": "user", "content": parts}
    wanted = expected("system: Be brief.\nuser: Say something about lists\nassistant:", 6)
    answer = client.chat.completions.create(
        model=NAME, messages=messages, max_completion_tokens=6, temperature=0.0, top_p=1, n=1
    )
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == wanted
    assert answer.choices[0].finish_reason == "length"
    again = answer.choices[0].message.model_dump()  # with keys that are null
    told = client.chat.completions.create(
        model=NAME, messages=[*messages, again, *USER], max_tokens=3, seed=7, user="me"
    )
    assert told.usage is not None
    assert told.usage.completion_tokens == 3


def test_a_chat_is_streamed(client: openai.OpenAI) -> None:
    asked: Any = {"model": NAME, "messages": USER, "max_tokens": 6}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    *parts, last = chunks
    told = "".join(chunk.choices[0].delta.content or "" for chunk in parts)
    assert told == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in parts][-1] == "length"
    assert {chunk.usage for chunk in parts} == {None}
    assert last.choices == []
    assert last.usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_as_openai_says(served: Served) -> None:
    body = {"model": NAME, "prompt": TEXT, "max_tokens": 4, "stream": True}
    answer = served.ask("/v1/completions", body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(one.startswith("data: {") for one in events[:-2])


def test_an_open_chat_takes_what_is_usual(client: openai.OpenAI, tokenizer: Any) -> None:
    long = [{"role": "user", "content": "word " * 480}]
    answer: Any = client.chat.completions.create(model=NAME, messages=long)  # type: ignore[arg-type]
    assert answer.usage.total_tokens == 1024  # the model's context


def test_answers_end_at_stop_sequences(client: openai.OpenAI, expected: Any) -> None:
    text = expected(TEXT, 48)
    stop = text[len(text) // 2 :][:6]
    wanted = text[: text.index(stop)]
    asked: Any = {"model": NAME, "prompt": TEXT, "max_tokens": 48, "stop": ["nowhere", stop]}
    answer = client.completions.create(**asked)
    assert answer.choices[0].text == wanted
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens < 48
    chunks = list(client.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == wanted
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_several_clients_at_once_get_their_own_answers(
    client: openai.OpenAI, expected: Any
) -> None:
    texts = [f"{TEXT} {word}" for word in ("one", "two", "is", "has", "one", "a list of")]
    wanted, told = [expected(text, 20) for text in texts], [""] * len(texts)

    def ask(index: int) -> None:
        asked: Any = {"model": NAME, "prompt": texts[index], "max_tokens": 20}
        if index % 2:
            told[index] = client.completions.create(**asked).choices[0].text
        else:
            chunks = client.completions.create(**asked, stream=True)
            told[index] = "".join(chunk.choices[0].text for chunk in chunks)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == wanted


CHAT, COMPLETION = {"messages": USER}, {"prompt": TEXT}


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (CHAT | {"temperature": 0.7}, "temperature", "temperature = 0.7 is not served"),
        (CHAT | {"temperature": True}, "temperature", "allowed: 0, or leave it out"),
        (COMPLETION | {"top_p": 0.9}, "top_p", "decoded greedily as it was measured"),
        (COMPLETION | {"n": 2}, "n", "n = 2 is not served"),
        (COMPLETION | {"logprobs": 1}, "logprobs", "logprobs = 1 is not served"),
        (CHAT | {"tools": [{"type": "function"}]}, "tools", "is not served"),
        (CHAT | {"response_format": {"type": "json_object"}}, "response_format", "is not served"),
        (CHAT | {"top_k": 5}, "top_k", "has no parameter 'top_k'"),
        (CHAT | {"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        (CHAT | {"max_tokens": "9"}, "max_tokens", "valid integer"),
        (CHAT | {"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "give one"),
        (CHAT | {"max_tokens": 1024}, "max_tokens", "context has 1024 tokens, and the prompt's"),
        (COMPLETION | {"prompt": "a " * 3000}, None, "context has 1024 tokens, and the prompt's"),
        (COMPLETION | {"prompt": ""}, "prompt", "none may be empty"),
        (COMPLETION | {"prompt": []}, "prompt", "there must be one"),
        (COMPLETION | {"prompt": [5, 1024]}, None, "no token 1024; this model has 1024"),
        (COMPLETION | {"prompt": [[5], "x"]}, "prompt", "expected a text, a list of texts"),
        (COMPLETION | {"stop": ["a"] * 5}, "stop", "up to 4 texts"),
        (COMPLETION | {"stop": ""}, "stop", "none empty"),
        (COMPLETION | {"stream_options": {"include_usage": True}}, "stream_options", "for stream"),
        (COMPLETION | {"suffix": "end"}, "suffix", 'suffix = "end" is not served'),
        ({"messages": []}, "messages", "at least 1 item"),
        ({}, "messages", "messages is missing"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "'user'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content",
            "expected a text, or a list of parts",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "name": "me"}]},
            "messages.0.name",
            "a message has a role and a content",
        ),
    ],
)
def test_what_is_not_served_is_refused_in_words(
    client: openai.OpenAI, body: dict[str, Any], param: str | None, words: str
) -> None:
    path = "/completions" if "prompt" in body else "/chat/completions"
    with pytest.raises(openai.BadRequestError) as refused:
        client.post(path, cast_to=object, body={"model": NAME, **body})
    error: Any = refused.value.body
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_another_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model named 'gpt-5'") as refused:
        client.completions.create(model="gpt-5", prompt="x")
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"
    with pytest.raises(openai.NotFoundError, match=f"allowed: {NAME}"):
        client.models.retrieve("org/other")


def test_embeddings_are_not_served(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="gives no embeddings"):
        client.embeddings.create(model=NAME, input="x")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/completions", b'{"model": ', 400, "the body is not valid JSON"),
        ("/v1/completions", b"[1]", 400, "must be a JSON object"),
        ("/v1/completions", b"[" * 100_000, 400, "error parsing the body"),
        ("/v1/completions", b" " * (9 << 20), 413, "more than 8388608 bytes"),
        (
            "/v1/completions",
            b'{"model": "served", "prompt": "\\ud800"}',
            *(400, "half of a character"),
        ),
        ("/v1/nothing", b"{}", 404, "Not Found"),
        ("/v1/models", b"{}", 405, "Method Not Allowed"),
    ],
    ids=["cut", "list", "deep", "large", "surrogate", "path", "method"],
)
def test_what_no_client_sends_is_refused_in_the_same_format(
    served: Served, path: str, body: bytes, status: int, words: str
) -> None:
    answer = served.ask(path, body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_a_body_that_does_not_say_how_long_it_is_is_counted(served: Served) -> None:
    answer = httpx.post(
        f"{served.url}/v1/completions",
        content=(b" " * (1 << 20) for _ in range(9)),
        headers={"Authorization": "Bearer a secret", "Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("key", ["a secret ", "another", "ä"])
def test_nobody_gets_in_without_the_key(served: Served, key: str) -> None:
    header = {"Authorization": f"Bearer {key}x".encode()}
    answer = httpx.get(f"{served.url}/v1/models", headers=header)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    with served.client("wrong") as client, pytest.raises(openai.AuthenticationError):
        client.completions.create(model=NAME, prompt="x")
    assert httpx.post(f"{served.url}/v1/completions").json()["error"]["message"].startswith("no ")
