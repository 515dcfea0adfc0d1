"""`/healthz`, `/readyz` and `/metrics` of a process that serves nothing else."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from models.errors import Misconfigured
from models.settings import Settings

_CONNECTIONS = 64
_LIFE = 60.0  # seconds: a check waits for Postgres for 35 s at most

Check = Callable[[], Awaitable[str | None]]
Shows = Callable[[], Mapping[str, object]]


@asynccontextmanager
async def serve(
    settings: Settings, *, healthy: Check, ready: Check, shows: Shows = dict
) -> AsyncIterator[None]:
    """Serve on `DARKROOM_METRICS_PORT`; a check returns None, or in words why not (503).

    `/readyz` also says what `shows` returns.

    Raises `Misconfigured` when it cannot listen there.
    """
    app = web.Application()
    app.router.add_get("/healthz", _route(healthy))
    app.router.add_get("/readyz", _route(ready, shows))
    app.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        server = await _listen(runner, settings.metrics_host, settings.metrics_port)
    except OSError as taken:
        await runner.cleanup()
        raise Misconfigured(
            f"port {settings.metrics_port} on {settings.metrics_host} cannot be used "
            f"({taken.strerror}); stop what uses it, or set DARKROOM_METRICS_HOST and DARKROOM_METRICS_PORT"
        ) from taken
    try:
        yield
    finally:
        server.close()
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> asyncio.Server:
    """Listen, with bounds that aiohttp lacks: on the number of connections, and on the life of each.

    Requests here are short; half a request must not hold a descriptor for ever.
    """
    loop, made = asyncio.get_running_loop(), runner.server
    if made is None:
        raise RuntimeError("the runner was not set up")
    recent: deque[RequestHandler] = deque()

    def connect() -> RequestHandler:
        connection = made()
        recent.append(connection)
        loop.call_later(_LIFE, connection.force_close)
        if len(recent) > _CONNECTIONS:
            recent.popleft().force_close()  # the oldest: it has ended, as a rule
        return connection

    return await loop.create_server(connect, host, port)


def _route(check: Check, shows: Shows = dict) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        trouble = await check()
        said = {"status": "ok"} if trouble is None else {"status": "unavailable", "detail": trouble}
        return web.json_response({**said, **shows()}, status=200 if trouble is None else 503)

    return answer


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})
