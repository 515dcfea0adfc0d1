"""Uvicorn as an api process runs it: bounded, and stopped so that no request is reset."""

import asyncio
import signal
import socket
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from api.edge.connections.connection import Connection, protocol
from api.edge.connections.crowd import Crowd
from models.platform import descriptors
from models.settings import Settings

_LAST = 1.0  # seconds for what was on its way when the last connection was taken
_LOOK = 0.1


class Server(uvicorn.Server):
    """Serves one app until it is told to stop, and a little longer.

    After SIGTERM it is not ready, and answers the clients that wait. It takes requests as ever for
    `DARKROOM_DRAIN`, each answered with `Connection: close`, because balancers learn only by and by that
    it is leaving. Then it takes no connection more, and finishes what is under way, or on its way, within
    the grace: some balancers (nginx, without checks) learn only from a connection that is refused.
    `refusal` is set when it ended by itself, for its database is not what its settings say.
    """

    def __init__(self, app: FastAPI, settings: Settings, *, loop: str = "uvloop") -> None:
        self._app = app
        self._window = settings.drain.total_seconds()
        self._crowd = Crowd.of(settings, descriptors.raise_limit())
        self._told = False
        self.refusal: str | None = None  # why it ended by itself
        self._protocol: Any = protocol(self._crowd, settings.head_timeout)
        super().__init__(
            uvicorn.Config(
                app,
                loop=loop,
                http=self._protocol,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # `of_client` reads them, as far as our balancers wrote them
                timeout_keep_alive=round(settings.keep_alive.total_seconds()),
                timeout_graceful_shutdown=round(settings.grace.total_seconds()),
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGTERM or SIGINT; at the second one, end at once."""
        first, self._told = not self._told, True
        if first and self.started:
            asyncio.get_running_loop().call_soon_threadsafe(self._drain, sig)
        if not first or not self.started or not self._window or sig == signal.SIGINT:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Return, ten times a second, whether uvicorn is to stop; also when the database is not ours."""
        state = getattr(self._app.state, "darkroom", None)
        self.refusal = None if state is None else state.refusal
        self.should_exit = self.should_exit or self.refusal is not None
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, answer what has been sent before anybody could know, and end."""
        self._crowd.draining = True
        await self._stop_listening()
        looks = round(_LAST / _LOOK) if self._window else 0
        while looks and self.server_state.connections and not self.force_exit:
            looks -= 1
            await asyncio.sleep(_LOOK)
        await super().shutdown(sockets)

    async def _stop_listening(self) -> None:
        """Close every listening socket, and take who has connected and was not taken yet.

        The kernel would reset them, with what they have sent already.
        """
        queues = [
            socket.fromfd(each.fileno(), each.family, each.type)
            for server in self.servers
            for each in server.sockets
        ]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for queue in queues:
            queue.settimeout(0)
            with queue, suppress(OSError):  # nobody waits any more
                while True:
                    taken, _ = queue.accept()
                    taken.settimeout(0)
                    await loop.connect_accepted_socket(self._connection, taken)

    def _connection(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self._protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def _drain(self, sig: int) -> None:
        self._crowd.draining = True
        self._app.state.darkroom.waiting.drain()
        self._app.state.darkroom.watching.drain()
        for each in self.server_state.connections:
            if isinstance(each, Connection):
                each.drain()
        asyncio.get_running_loop().call_later(self._window, self._stop, sig)

    def _stop(self, sig: int) -> None:
        if not self.should_exit:
            super().handle_exit(sig, None)
