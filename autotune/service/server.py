"""Serves the application with uvicorn until somebody stops it."""

from __future__ import annotations

import contextlib
import socket

import uvicorn

from autotune.logs import set_up_logs
from autotune.service.app import make_app
from autotune.service.children import Children
from autotune.service.settings import ServiceSettings
from autotune.service.streams import Streams
from autotune.service.supervisor import Supervisor
from autotune.store.store import Store

_LEAVE_SECONDS = 5
"""How long requests may still take once the service was asked to stop."""


class _Server(uvicorn.Server):
    """Ends the event streams as soon as it is asked to stop: it would wait for them."""

    def __init__(self, config: uvicorn.Config, streams: Streams) -> None:
        super().__init__(config)
        self._streams = streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._streams.close()
        await super().shutdown(sockets)


def serve(settings: ServiceSettings, host: str, port: int) -> None:
    """Serves until SIGINT or SIGTERM. Studies that run go on.

    Args:
        settings: What the administrator decided.
        host: Address to listen on.
        port: Port to listen on; 0 takes any that is free.

    Raises:
        StoreError: The database cannot be used.
        InputError: Another service uses it.
    """
    set_up_logs()
    settings.directory.mkdir(parents=True, exist_ok=True)
    with Store.open(settings.database) as store:
        supervisor = Supervisor(settings, store, Children(settings))
        supervisor.claim()
        app = make_app(settings, store, supervisor)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_LEAVE_SECONDS,
        )
        # Once it has ended in an orderly way, uvicorn raises the signal that ended it again.
        with contextlib.suppress(KeyboardInterrupt):
            _Server(config, app.state.streams).run()
