"""Loads a model and serves it with uvicorn until somebody stops it."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
from importlib import metadata
from pathlib import Path

import uvicorn
from fastapi import FastAPI

import autotune
from autotune.errors import InputError
from autotune.openai.errors import add_handlers
from autotune.openai.gate import Gate
from autotune.openai.model import LoadedModel
from autotune.openai.prompts import PLAIN_CHAT
from autotune.openai.routes import make_router

_LOCAL = ("127.0.0.1", "localhost", "::1")


def make_app(model: LoadedModel, api_key: str | None) -> FastAPI:
    """The application, ready to be served.

    Args:
        model: The caller closes it.
        api_key: What every request must bring; None: nothing.
    """
    app = FastAPI(
        title="autotune",
        summary="A tuned model behind OpenAI's API.",
        version=metadata.version("autotune"),
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(make_router(model))
    add_handlers(app)
    app.add_middleware(Gate, api_key=api_key)
    return app


def run(directory: Path, host: str, port: int, api_key: str | None) -> None:
    """Serves until SIGINT or SIGTERM; see ``autotune.openai.serve``."""
    if api_key == "":
        raise InputError("the API key is empty: give one, or leave it out to ask for none")
    # An address that is taken is found before a model is loaded for minutes.
    with _bound(host, port) as listening, autotune.load(directory) as model:
        model.check_generates()
        config = uvicorn.Config(
            make_app(model, api_key), log_level="warning", access_log=False, server_header=False
        )
        print(_greeting(model, host, listening.getsockname()[1], api_key), flush=True)
        # Once it has ended in an orderly way, uvicorn raises the signal that ended it again.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except (OSError, OverflowError) as error:
        made.close()
        raise InputError(
            f"cannot listen on {host}, port {port}: {error}; name others with --host and --port"
        ) from error
    return made


def _greeting(model: LoadedModel, host: str, port: int, api_key: str | None) -> str:
    url = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
    body = {"model": model.name, "messages": [{"role": "user", "content": "Hello"}]}
    key = " -H 'Authorization: Bearer KEY'" if api_key else ""
    lines = [
        f"serving {model.name} at {url}",
        f"try: curl {url}/chat/completions -H 'Content-Type: application/json'{key} "
        f"-d {shlex.quote(json.dumps({**body, 'max_tokens': 32}))}",
    ]
    if not model.tokenizer.chat_template:
        lines.append(f"its tokenizer has no chat template: of a chat it reads {PLAIN_CHAT}")
    if not api_key and host not in _LOCAL:
        lines.append("no API key: whoever reaches this address may use it (--api-key)")
    return "\n".join(lines)
