"""The paid call, and the key it is made with."""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self

import structlog
from pydantic import SecretStr

from worker.provider import bodies, line, reading
from worker.provider.account import Account
from worker.provider.outcomes import Outcome, TryLater, Unknown

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_GENERATIONS = "/v1/images/generations"
# The provider drops any other id in silence, and bills the call all the same.
_CLIENT_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# Shorter ones are examples, and may be part of an ordinary word.
_KEY_TO_HIDE = 8
_ERRORS = 400
_SHOWN = 300  # characters of what the system says of a connection
_CONNECT_TIMEOUT = timedelta(seconds=10)


class Provider:
    """AIML API with one key: an async context manager, for any number of calls at once.

    Raises ValueError for a key that is none, and on entering for a base URL that is none.
    `connect_timeout` bounds name, TCP and TLS together. The key is in no repr, message or log
    line.
    """

    def __init__(
        self, base_url: str, key: SecretStr, connect_timeout: timedelta = _CONNECT_TIMEOUT
    ) -> None:
        line.bearer(key)  # refuses a key that is none, before any job meets it
        self._base_url = base_url
        self._key = key
        self._connect_timeout = connect_timeout
        self._line: line.Line | None = None
        self._odd: set[str] = set()  # kinds of rows of the account's that were told

    @property
    def account(self) -> Account:
        """The account that the key belongs to."""
        return Account(self._open, self._key, told=self._odd)

    async def generate(
        self,
        body: Mapping[str, object],
        *,
        client_request_id: str,
        timeout: timedelta,  # noqa: ASYNC109 -- its end is an outcome, not a TimeoutError
    ) -> Outcome:
        """Make the paid call; returns its outcome within `timeout`, connecting included.

        `body` is the provider's own, which asks for a URL (`catalog.provider_body`). Raises ValueError for
        an id that the provider would drop, before anything is sent.
        """
        if not _CLIENT_REQUEST_ID.fullmatch(client_request_id):
            raise ValueError("a client request id is 1-128 of A-Z a-z 0-9 . _ : -")
        request = self._request(body, client_request_id)
        reply = await self._open.exchange(request, timeout)
        reply.headers = {name: self._hidden(value) for name, value in reply.headers.items()}
        whole = bodies.whole(reply)
        if reply.status is None or whole is None:
            return self._broken(reply)
        _check_echo(reply.status, reply.headers, client_request_id)
        return reading.read(reply.status, reply.headers, self._without_key(whole))

    async def __aenter__(self) -> Self:
        self._line = line.Line(self._base_url, self._connect_timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened, self._line = self._line, None
        if opened is not None:
            await opened.close()

    @property
    def _open(self) -> line.Line:
        if self._line is None:
            raise RuntimeError("the provider is used outside of its `async with`")
        return self._line

    def _request(self, body: Mapping[str, object], client_request_id: str) -> line.Request:
        return line.Request(
            "POST",
            _GENERATIONS,
            headers={
                "Authorization": line.bearer(self._key),
                "Content-Type": "application/json",
                "X-Client-Request-Id": client_request_id,
            },
            content=json.dumps(body, allow_nan=False).encode(),
        )

    def _broken(self, reply: line.Reply) -> Outcome:
        if not reply.sent:
            log.info("call.not_sent", reason=str(reply.failure)[:_SHOWN])
            return TryLater(
                reason="not_sent",
                message="The provider could not be reached; nothing was sent.",
                counts=False,
                sent=False,
            )
        match reply.failure:
            case TimeoutError():
                lost = "deadline", "The provider did not answer in time."
            case line.TooLarge():
                lost = "too_large", "The provider's answer is too large to be an image."
            case _:
                lost = "connection_lost", "The connection broke after the request was sent."
        log.info("call.broken", reason=lost[0], error=type(reply.failure).__name__)
        if reply.status is None:
            return Unknown(reason=lost[0], message=lost[1])
        part = self._without_key(bodies.plain(bytes(reply.part)))
        return reading.read_part(reply.status, reply.headers, part, *lost)

    # An error may repeat the key that it does not like, and a gateway in a header; nothing behind here
    # ever sees it.

    def _without_key(self, body: bytes) -> bytes:
        key = self._key.get_secret_value().encode()
        return body if len(key) < _KEY_TO_HIDE else body.replace(key, b"[key]")

    def _hidden(self, header: str) -> str:
        return self._without_key(header.encode()).decode()


def _check_echo(status: int, headers: Mapping[str, str], sent: str) -> None:
    echo = headers.get("x-client-request-id")
    # Errors, above all those of a proxy, often have none.
    if echo == sent or (echo is None and status >= _ERRORS):
        return
    log.warning(
        "provider.request_id_not_echoed",
        client_request_id=sent,
        echo=None if echo is None else echo[:128],
        status=status,
        effect="the provider's log may not show this call as ours",
    )
