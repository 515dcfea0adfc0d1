"""`python -m api`: the HTTP front end, on uvicorn with uvloop and httptools."""

import os
import signal
import sys

# Process 1 has no default action: told to stop while it loads what follows, it would go on. Not by an
# exception: Python drops those in a finalizer, and a class that is being made changes them. uvicorn sends
# itself the signal again once everything is closed: it has been obeyed, so the status is 0.
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import gc

from models.platform.arguments import take_none
from models.platform.lean import load_redis

if __name__ == "__main__":
    take_none("api", "Serve the API and the page over HTTP.")
    gc.disable()  # what is loaded stays: `collect_less` puts it aside, and turns this on again
    load_redis()

import socket

import structlog

from api.app import create_app
from api.edge.connections.serving import Server
from models import settings
from models.errors import DarkroomError, Misconfigured
from models.images.storage import Store
from models.platform import metrics, tracing
from models.platform.logs import configure
from models.platform.memory import collect_less, spare_memory
from models.platform.threads import give_way
from models.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BACKLOG = 2048


def main() -> int:
    """Serve until SIGTERM; 2 and one line when it cannot start."""
    try:
        loaded = settings.load()
        configure("api", loaded.log_level)
        metrics.identify("api")
        tracing.start("api", loaded)
        Store(loaded.storage_url)  # the app opens its own; here a wrong URL is one line
        listener = _listen(loaded)
    except DarkroomError as refused:
        print(f"darkroom api: {refused}", file=sys.stderr)
        return 2
    if (why := settings.doubt(loaded, "api")) is not None:
        log.warning("settings.doubtful", reason=why)
    server = Server(create_app(loaded), loaded)
    collect_less()
    give_way()
    with listener:
        server.run(sockets=[listener])
    tracing.stop()
    if server.refusal is None:
        return 0
    print(f"darkroom api: {server.refusal}", file=sys.stderr)
    return 2


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
            "it, or set DARKROOM_HOST and DARKROOM_PORT"
        ) from taken
    return listener


if __name__ == "__main__":
    spare_memory()
    sys.exit(main())
