"""A receiver of webhooks, as a customer would write one with the `standardwebhooks` package.

It runs in threads of its own, so that it answers whatever the test is doing, and it is the witness of
what was delivered: each event that verified, and each request that did not.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

from tests.e2e.shapes import Event

_PATIENCE = 60.0  # seconds that a shut door holds a webhook at most


@dataclass(frozen=True)
class Received:
    """A webhook whose signature was right."""

    id: str
    event: Event


@dataclass
class Receiver:
    """What came in; `secret` is the project's, and must be set before the first webhook."""

    url: str = ""
    secret: str = ""
    received: list[Received] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)  # of each that was received
    knocks: int = 0  # webhooks that came while the door was shut

    def __post_init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        # Whether a webhook that verified is answered with 500 all the same, after it was received.
        self.fails: Callable[[], bool] = lambda: False

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Answer no webhook until the block ends."""
        self.knocks = 0
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def of(self, job_id: str, type_: str) -> list[Event]:
        """Return the events of one type about a job, one per delivery that came."""
        return [each.event for each in list(self.received)
                if each.event.data.id == job_id and each.event.type == type_]  # fmt: skip

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Judge one request; returns the status of the answer."""
        if not self._open.is_set():
            self.knocks += 1
            self._open.wait(_PATIENCE)
        try:
            Webhook(self.secret).verify(body, headers, json_parse=False)
        except WebhookVerificationError as wrong:
            self.refused.append(f"{wrong}: {headers.get('webhook-id')}")
            return 401
        self.headers.append(headers)
        self.received.append(Received(headers["webhook-id"], Event.model_validate_json(body)))
        return 500 if self.fails() else 204


@contextmanager
def listening() -> Iterator[Receiver]:
    """Run a receiver on a free port until the block ends."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = receiver.take(headers, body)
            try:
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()
            except OSError:
                self.close_connection = True  # whoever sent it is dead by now

        def log_message(self, *_: object) -> None:
            """Say nothing: what was refused is in the list."""

    with serving(Handler) as port:
        receiver.url = f"http://127.0.0.1:{port}/webhook"
        yield receiver


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a burst of webhooks is no refusal


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve on a free port of 127.0.0.1, a thread per request; returns the port."""
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
