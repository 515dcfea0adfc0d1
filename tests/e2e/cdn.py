"""The address behind the provider's image URLs: a door in front of the simulator's images.

A test can shut it, to catch a worker between the provider's answer and the kept image, or have it break
a download off. Everything else passes as it is.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import httpx

from tests.e2e.receiver import serving

_PATIENCE = 60.0  # seconds that a shut door holds a download at most


class Cdn:
    """`origin` is the simulator's address, and must be set before the first image is fetched."""

    def __init__(self) -> None:
        self.url = ""
        self.origin = ""
        self.knocks = 0  # downloads that came while the door was shut
        self.asked: list[dict[str, str]] = []  # the headers of each download
        self._open = threading.Event()
        self._open.set()
        self._halves = 0
        self._client = httpx.Client(timeout=30, trust_env=False)
        # What becomes of the bytes of a download; whoever wants them otherwise says so here.
        self.spoil: Callable[[str, bytes], bytes] = lambda _path, body: body

    def close(self) -> None:
        """Close the connections to the origin."""
        self._client.close()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Hold every download until the block ends."""
        self.knocks = 0
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def halve(self, downloads: int) -> None:
        """Return only the first half of this many downloads, as if the file ended there."""
        self._halves = downloads

    def fetch(self, path: str) -> tuple[int, str, bytes]:
        """Return what the simulator has at this path: status, content type, bytes."""
        if not self._open.is_set():
            self.knocks += 1
            self._open.wait(_PATIENCE)
        answer = self._client.get(self.origin + path)
        body = self.spoil(path, answer.content)
        if self._halves:
            self._halves -= 1
            body = body[: len(body) // 2]
        return answer.status_code, answer.headers["content-type"], body


@contextmanager
def opened() -> Iterator[Cdn]:
    """Run the door on a free port until the block ends."""
    cdn = Cdn()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cdn.asked.append({name.lower(): value for name, value in self.headers.items()})
            try:
                status, content_type, body = cdn.fetch(self.path)
            except httpx.HTTPError:
                status, content_type, body = 502, "text/plain", b"the origin broke off"
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # whoever asked is dead by now

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving(Handler) as port:
        cdn.url = f"http://127.0.0.1:{port}"
        try:
            yield cdn
        finally:
            cdn.close()
