"""Serves the dashboard until somebody stops it."""

from __future__ import annotations

import ipaddress
import os
import socketserver
from collections.abc import Callable
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import BaseStorage, get_storage

from autotune.dashboard.app import make_app
from autotune.dashboard.views import Views
from autotune.errors import InputError
from autotune.search.storage import open_storage
from autotune.store.database import parse_url
from autotune.store.store import Store

_NICENESS = 10


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each request; one that hangs does not keep the process from ending."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Asks nobody for this machine's name: without a network that takes long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are not worth a line."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    url: str,
    logs: Path,
    study: str | None,
    host: str,
    port: int,
    on_ready: Callable[[str], None],
) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        url: Of the database.
        logs: The folder of the studies on this machine.
        study: The study that is opened; none: the list of all.
        host: Address to listen on.
        port: Port to listen on; 0 takes any that is free.
        on_ready: Told the address of the page, once it can be opened.

    Raises:
        InputError: There is no such study or database, or nobody can listen there.
        StoreError: The database cannot be used.
    """
    with Store.open_existing(url) as store:
        if study is not None:
            store.study(study)
        hosts = frozenset({host, "localhost"}) if is_loopback(host) else None
        storage = get_storage(open_storage(parse_url(url)))
        page = _path(storage, study)
        server = _listen(host, port, make_app(storage, Views(store, url), logs, hosts))
        try:
            os.nice(_NICENESS)  # what is measured on this machine comes first
            on_ready(f"http://{host}:{server.server_port}/dashboard{page}")
            server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            server.server_close()


def _listen(host: str, port: int, app: Callable[..., object]) -> WSGIServer:
    try:
        return make_server(host, port, app, _Server, _Quiet)  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(
            f"cannot listen on port {port} of {host}: {error.strerror or error}; choose another "
            "--port (0: any free one)"
        ) from error


def _path(storage: BaseStorage, study: str | None) -> str:
    """Of the page of a study."""
    if study is None:
        return ""
    try:
        return f"/studies/{storage.get_study_id_from_name(study)}"
    except KeyError as error:
        raise InputError(
            f"study {study!r} died before its first trial; go on with it by autotune search "
            "--resume, or leave out the name to see the others"
        ) from error
