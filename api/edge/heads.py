"""HEAD, on every route that answers a GET: the same answer, without its body (RFC 9110, 9.3.2)."""

from starlette.types import Message, Scope, Send


def as_get(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """Return the GET that a HEAD asks about, and what sends no more than the head of its answer.

    A Range is for GET alone (14.2). An answer that goes on, as a stream of events, ends where its body
    would begin: the server tells it that its client has left.
    """
    headers = [each for each in scope["headers"] if each[0] != b"range"]

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    return {**scope, "method": "GET", "headers": headers}, send_head
