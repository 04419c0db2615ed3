"""The command: how it begins, how it refuses, how it ends."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from autotune.errors import InputError
from autotune.openai import main, serve
from openai_support.served import NAME, Served


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_is_answered_before_it_ends(
    folder: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    served = Served(folder, tmp_path / "log")
    try:
        with served.client() as client:
            asked: Any = {"model": NAME, "prompt": "def", "max_tokens": 600, "stream": True}
            chunks = iter(client.completions.create(**asked))
            told = [next(chunks)]
            served.process.send_signal(sent)
            told += chunks
        assert told[-1].choices[0].finish_reason == "length"
        assert served.process.wait(60) == 0
        assert "Traceback" not in served.log.read_text()
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{served.url}/health")
    finally:
        served.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "99999"], "cannot listen on 127.0.0.1, port 99999"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1, port 8000"),
        (["--port", "0"], "dispatch.json does not exist"),
        (["--api-key", ""], "the API key is empty"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit, match="2"):
            main(tmp_path, options)
    finally:
        signal.signal(signal.SIGTERM, handler)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}: .*in use; name others with --host"):
            serve(tmp_path, port=port)
