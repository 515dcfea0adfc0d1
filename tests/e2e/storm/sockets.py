"""What a hostile client does below HTTP: bodies that are announced and heads that do not end."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

from tests.e2e.storm.attacks import Hostile

_CONNECTIONS = 6
_HALF_SENT = 500  # connections that wait for the rest of a request
_LARGE = 64 * 1024 * 1024  # bytes of the largest body that may come
_PIECE = 64 * 1024


def announced_bodies(hostile: Hostile) -> None:
    """Announce the largest bodies there are, send none of them, and wait to be thrown out."""
    for _ in hostile.ceaselessly():
        head = f"content-length: {_LARGE}\r\n\r\n{{"
        with _connected(hostile, head) as connections:
            hostile.over.wait(1)
            for each in connections:
                with suppress(OSError):
                    each.sendall(b" ")


def endless_heads(hostile: Hostile) -> None:
    """Send a header that does not end, until the connection does."""
    for _ in hostile.ceaselessly():
        with _connected(hostile, "x-endless: ") as connections, suppress(OSError):
            while not hostile.over.is_set():
                hostile.pace()
                for each in connections:
                    each.sendall(b"x" * _PIECE)


def half_sent(hostile: Hostile) -> None:
    """Begin requests, and never send the rest of them."""
    for _ in hostile.ceaselessly():
        with _connected(hostile, "x-half: ", _HALF_SENT, pace=hostile.pace):
            hostile.over.wait(1)


@contextmanager
def _connected(
    hostile: Hostile, rest: str, many: int = _CONNECTIONS, pace: Callable[[], None] = lambda: None
) -> Iterator[list[socket.socket]]:
    """Return connections that have begun a submission."""
    to = urlsplit(str(hostile.client.base_url))
    head = f"POST /v1/jobs HTTP/1.1\r\nhost: {to.netloc}\r\ncontent-type: application/json\r\n"
    head += f"authorization: {hostile.client.headers['authorization']}\r\n{rest}"
    with ExitStack() as stack:
        made: list[socket.socket] = []
        for _ in range(many):
            if hostile.over.is_set():
                break
            pace()
            try:
                opened = socket.create_connection((to.hostname, to.port or 80), 10)
                made.append(stack.enter_context(opened))
                opened.sendall(head.encode())
            except OSError as shut_out:
                hostile.told[type(shut_out).__name__] += 1
        if not made:
            hostile.over.wait(1)
        yield made
