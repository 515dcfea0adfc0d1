"""Uvicorn as an api process runs it: bounded, and stopped so that no request is reset."""

import asyncio
import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.connections import Connection, protocol
from api.crowd import Crowd
from models import descriptors
from models.settings import Settings


class Server(uvicorn.Server):
    """Serves one app until it is told to stop, and a little longer.

    After SIGTERM it is not ready and answers whoever waits. It takes requests as ever for
    `DARKROOM_DRAIN`, each answered with `Connection: close`, because balancers learn only by and by that
    it is leaving. Then it takes no connection more, and finishes what is under way within the grace.
    `refusal` is set when it ended by itself, for its database is not what its settings say.
    """

    def __init__(self, app: FastAPI, settings: Settings, *, loop: str = "uvloop") -> None:
        self._app = app
        self._window = settings.drain.total_seconds()
        self._crowd = Crowd.of(settings, descriptors.raise_limit())
        self._told = False
        self.refusal: str | None = None  # why it ended by itself
        super().__init__(
            uvicorn.Config(
                app,
                loop=loop,
                http=protocol(self._crowd, settings.head_timeout),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here asks where a request came from
                timeout_keep_alive=round(settings.keep_alive.total_seconds()),
                timeout_graceful_shutdown=round(settings.grace.total_seconds()),
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take SIGTERM, or SIGINT, or the second of them: then at once."""
        first, self._told = not self._told, True
        if first and self.started:
            asyncio.get_running_loop().call_soon_threadsafe(self._drain, sig)
        if not first or not self.started or not self._window or sig == signal.SIGINT:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Tell uvicorn, ten times a second, whether to stop; also when the database is not ours."""
        state = getattr(self._app.state, "darkroom", None)
        self.refusal = None if state is None else state.refusal
        self.should_exit = self.should_exit or self.refusal is not None
        return await super().on_tick(counter)

    def _drain(self, sig: int) -> None:
        self._crowd.draining = True
        self._app.state.darkroom.waiting.drain()
        for each in self.server_state.connections:
            if isinstance(each, Connection):
                each.drain()
        asyncio.get_running_loop().call_later(self._window, self._stop, sig)

    def _stop(self, sig: int) -> None:
        if not self.should_exit:
            super().handle_exit(sig, None)
