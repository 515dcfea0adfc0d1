"""`/healthz`, `/readyz` and `/metrics` of a process that serves nothing else."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from models.errors import Misconfigured
from models.settings import Settings

Check = Callable[[], Awaitable[str | None]]


@asynccontextmanager
async def serve(settings: Settings, *, healthy: Check, ready: Check) -> AsyncIterator[None]:
    """Serve on `DARKROOM_METRICS_PORT`; a check gives None, or in words why not (503).

    Raises `Misconfigured` when the port is taken.
    """
    app = web.Application()
    app.router.add_get("/healthz", _route(healthy))
    app.router.add_get("/readyz", _route(ready))
    app.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.metrics_host, settings.metrics_port).start()
    except OSError as taken:
        await runner.cleanup()
        raise Misconfigured(
            f"port {settings.metrics_port} is taken; stop what uses it, or set "
            "DARKROOM_METRICS_PORT"
        ) from taken
    try:
        yield
    finally:
        await runner.cleanup()


def _route(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        trouble = await check()
        return web.json_response(
            {"status": "ok"} if trouble is None else {"status": "unavailable", "detail": trouble},
            status=200 if trouble is None else 503,
        )

    return answer


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})
