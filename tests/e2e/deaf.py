"""A proxy before Redis that keeps back what the server says: to the consumer alone, or to everybody."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

_AT_ONCE = 65_536


@dataclass
class Proxy:
    """Passes everything on, until `consumer` or `everybody` is set: then answers are swallowed."""

    url: str
    consumer: threading.Event = field(default_factory=threading.Event)
    everybody: threading.Event = field(default_factory=threading.Event)
    clients: list[socket.socket] = field(default_factory=list)

    def carry(self, client: socket.socket, server: socket.socket) -> None:
        """Carry one connection until either side ends it."""
        self.clients.append(client)
        consumes = threading.Event()

        def down() -> None:
            with suppress(OSError):
                while data := server.recv(_AT_ONCE):
                    kept = self.consumer.is_set() and consumes.is_set()
                    if not (kept or self.everybody.is_set()):
                        client.sendall(data)
            _end(client)

        answering = threading.Thread(target=down)
        answering.start()
        with suppress(OSError):
            while data := client.recv(_AT_ONCE):
                if b"BRPOP" in data:
                    consumes.set()
                server.sendall(data)
        _end(server)
        answering.join()


@contextmanager
def proxy(redis_url: str) -> Iterator[Proxy]:
    """Stand before the server of this URL; returns the URL to use instead."""
    parts = urlsplit(redis_url)

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with (
                suppress(OSError),
                socket.create_connection((parts.hostname, parts.port)) as server,
            ):
                made.carry(self.request, server)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as listener:
        port = listener.server_address[1]
        credentials = f":{parts.password}@" if parts.password else ""
        made = Proxy(f"redis://{credentials}127.0.0.1:{port}{parts.path}")
        serving = threading.Thread(target=listener.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield made
        finally:
            listener.shutdown()
            serving.join()
            for client in made.clients:
                _end(client)


def _end(side: socket.socket) -> None:
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
