"""The application: its routes, its errors, and what each request passes on its way in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from api.edge import problems
from api.edge.body_limits import Pace
from api.edge.middleware import RequestMiddleware
from api.opening import open_state
from api.routes import (
    actions,
    audit,
    batches,
    budgets,
    catalog,
    deliveries,
    docs,
    erasures,
    files,
    generations,
    health,
    images,
    jobs,
    keys,
    now,
    operator,
    streams,
    usage,
    webhooks,
)
from models.images.pictures import Pictures
from models.platform.version import VERSION
from models.settings import Settings

_DESCRIPTION = """
Darkroom turns AIML API's blocking, paid image call into a durable job: post the body you would have sent,
get an id at once, and poll, wait, or be called back by a signed webhook. Every refusal is
`application/problem+json` (RFC 9457); every answer carries `X-Request-Id`.
"""

_ROOMS = (
    *(actions, jobs, batches, streams, images, generations, files, webhooks, deliveries, keys),
    *(budgets, usage, now, erasures, catalog, audit, health),
)
_ROUTERS = (
    *(room.router for room in _ROOMS),
    *operator.ROUTERS,
    *(images.sharing, streams.project, batches.intake),
)

# Spans are made by hand: FastAPI's would be of each request, with its URL, which is signed or names people.
_OURS_ALONE: TelemetryConfig = {
    "tracing": False, "metrics": False, "logs": False, "auto_configure": False,
}  # fmt: skip


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Describe the API, with what the documentation of its answers refers to."""
        # Loaded when somebody asks for it: most processes never are.
        from api.contract.openapi import description, events  # noqa: PLC0415

        self.webhooks = events.router()
        return description.complete(super().openapi())


def create_app(settings: Settings, pictures: Pictures | None = None) -> FastAPI:
    """Build the API for these settings; everything is opened when it starts and closed when it stops.

    Where `pictures` are given, those decode, and stay open.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_state(settings, pictures) as state:
            app.state.darkroom = state
            yield

    app = _App(
        title="Darkroom",
        version=VERSION,
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,  # `routes.docs` serves it
        telemetry=_OURS_ALONE,
        redirect_slashes=False,  # Starlette would send callers to where their Host header says
    )
    problems.install(app, settings.public_url)
    # Included, FastAPI would match each route twice. They are matched in this order: the pages come last.
    for router in _ROUTERS:
        app.router.routes.extend(router.routes)
    docs.install(app)
    app.add_middleware(
        RequestMiddleware,
        submission_max=settings.body_max_bytes,
        bodies_max=settings.bodies_max_bytes,
        pace=Pace(settings.body_grace, settings.body_rate),
    )
    return app
