"""`python -m api`: the HTTP front end, on uvicorn with uvloop and httptools."""

import asyncio
import signal
import socket
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from models import settings
from models.errors import DarkroomError, Misconfigured
from models.garbage import collect_less
from models.logs import configure
from models.settings import Settings

_BACKLOG = 2048


def main() -> int:
    """Serve until SIGTERM; 2 and one line when it cannot start."""
    try:
        loaded = settings.load()
        configure("api", loaded.log_level)
        listener = _listen(loaded)
    except DarkroomError as refused:
        print(f"darkroom api: {refused}", file=sys.stderr)
        return 2
    app = create_app(loaded)
    server = Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here asks where a request came from
            timeout_graceful_shutdown=round(loaded.grace.total_seconds()),
        )
    )
    # uvicorn sends itself the signal again once everything is closed: it has been obeyed, so exit with 0.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    collect_less()
    with listener:
        server.run(sockets=[listener])
    return 0


class Server(uvicorn.Server):
    """Uvicorn, which waits for open requests when told to stop; so the long ones are answered then."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take SIGTERM or SIGINT: take nothing more, and let nobody wait for a change any longer."""
        super().handle_exit(sig, frame)
        app = self.config.app
        state = getattr(app.state, "darkroom", None) if isinstance(app, FastAPI) else None
        if state is not None:
            asyncio.get_running_loop().call_soon_threadsafe(state.waiting.drain)


def _listen(loaded: Settings) -> socket.socket:
    """Bind before anything else is opened, so that a taken port is one clear line."""
    family = socket.AF_INET6 if ":" in loaded.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((loaded.host, loaded.port))
        listener.listen(_BACKLOG)
    except OSError as taken:
        listener.close()
        raise Misconfigured(
            f"port {loaded.port} on {loaded.host} cannot be used ({taken.strerror}); stop what uses "
            "it, or set DARKROOM_PORT"
        ) from taken
    return listener


if __name__ == "__main__":
    sys.exit(main())
