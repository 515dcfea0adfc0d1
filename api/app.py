"""The application: its routes, and what they stand on from start to stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.contract import documentation, dropin, events
from api.contract.answers import JsonAnswer
from api.dependencies.state import State
from api.edge import problems
from api.edge.body_limits import Pace
from api.edge.callers import Callers
from api.edge.callers.rates import Rates
from api.edge.callers.shares import Shares
from api.edge.middleware import Door
from api.routes import (
    actions,
    audit,
    batches,
    budgets,
    catalog,
    deliveries,
    erasures,
    generations,
    health,
    images,
    jobs,
    keys,
    operator_actions,
    operator_projects,
    operator_state,
    pages,
    streams,
    usage,
    webhooks,
)
from api.sharing.calls import Calls
from api.sharing.conversions import Conversions
from api.sharing.intakes import AT_ONCE, PATIENCE, Intakes
from api.sharing.queues import Queues
from api.sharing.references import CPU, DECODERS, WALL, References
from api.sharing.reports import Reports
from api.sharing.turns import Turns
from api.sharing.waiting import Waiting
from api.sharing.watching import Watching
from models.coordination import processes
from models.errors import Misconfigured
from models.images.pictures import Pictures
from models.images.storage import Store
from models.jobs.view import Presenter
from models.money.prices import PriceList
from models.platform.db import Database, premises
from models.platform.doorbell import Doorbell
from models.platform.vault import Vault
from models.platform.version import VERSION
from models.settings import Settings

_PATIENCE = timedelta(seconds=10)  # with Postgres, in one request: clients wait for 30 s, often

_DESCRIPTION = """
Darkroom turns AIML API's blocking, paid image call into a durable job: post the body you would have sent,
get an id at once, and poll, wait, or be called back by a signed webhook. Every refusal is
`application/problem+json` (RFC 9457); every answer carries `X-Request-Id`.
"""


def _name(route: APIRoute) -> str:
    """Return an operation's name, as clients made from OpenAPI call it: `submit_job`."""
    return route.name


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Describe the API, with what the documentation of its answers refers to."""
        return documentation.complete(super().openapi(), dropin.SCHEMAS)


def create_app(settings: Settings) -> FastAPI:
    """Build the API for these settings; everything is opened when it starts and closed when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_state(settings) as state:
            app.state.darkroom = state
            yield

    app = _App(
        title="Darkroom",
        version=VERSION,
        description=_DESCRIPTION,
        lifespan=lifespan,
        default_response_class=JsonAnswer,
        openapi_url=None,  # `pages` serves it, and has docs of its own
        redirect_slashes=False,  # Starlette would send callers to where their Host header says
        webhooks=events.router(),
        generate_unique_id_function=_name,
    )
    problems.install(app, settings.public_url)
    pages.install(app)
    rooms = (
        *(actions, jobs, batches, streams, images, generations, webhooks, deliveries, keys),
        *(budgets, usage, erasures, catalog, audit, health),
        *(operator_projects, operator_actions, operator_state),
    )
    routers = (*(room.router for room in rooms), images.sharing, streams.project, batches.intake)
    for router in routers:
        app.include_router(router)
    app.add_middleware(
        Door,
        submission_max=settings.body_max_bytes,
        bodies_max=settings.bodies_max_bytes,
        pace=Pace(settings.body_grace, settings.body_rate),
    )
    return app


@asynccontextmanager
async def open_state(settings: Settings) -> AsyncIterator[State]:
    """Open what the routes stand on."""
    async with AsyncExitStack() as stack:
        doorbell = await stack.enter_async_context(Doorbell(settings.redis_url.get_secret_value()))
        await doorbell.listen("job", "delivery", "batch")
        database = Database(settings, ring=doorbell.ring, patience=_PATIENCE, name="darkroom-api")
        stack.push_async_callback(database.close)
        intake = Database(
            settings,
            ring=doorbell.ring,
            pool=AT_ONCE,
            patience=PATIENCE,
            name="darkroom-api-batches",
        )
        stack.push_async_callback(intake.close)
        vault, waiting = Vault.of(settings), Waiting(database, doorbell)
        sweep = asyncio.create_task(waiting.sweep_for_ever())
        stack.push_async_callback(_cancel, sweep)
        turns = Turns(database, settings)
        watching = Watching(database, turns)
        stack.push_async_callback(watching.close)
        calls = Calls(database)
        stack.push_async_callback(calls.finish)
        stack.push_async_callback(_cancel, asyncio.create_task(calls.see_for_ever()))
        store = Store(settings.storage_url)
        decoders = await stack.enter_async_context(Pictures(children=DECODERS, cpu=CPU, wall=WALL))
        state = State(
            settings=settings,
            database=database,
            doorbell=doorbell,
            store=store,
            vault=vault,
            presenter=Presenter.of(settings, vault),
            callers=Callers(
                database,
                Rates(settings.requests_per_minute),
                settings.balancers,
                Shares(settings.connections_max),
            ),
            queues=Queues(database, settings.queued_max),
            waiting=waiting,
            watching=watching,
            prices=PriceList(database),
            references=References(decoders),
            reports=Reports(database, settings),
            turns=turns,
            calls=calls,
            conversions=Conversions(store, decoders),
            intakes=Intakes(intake),
        )
        # Requests are answered meanwhile, each by itself; this only says what is missing.
        waits = asyncio.create_task(_see_premises(state))
        stack.push_async_callback(_cancel, waits)
        yield state


async def _see_premises(state: State) -> None:
    try:
        await premises.wait(state.database, state.vault)
    except Misconfigured as wrong:
        state.refusal = str(wrong)
        return
    state.schema_seen.set()
    async with processes.reported(state.database, processes.name(), "api"):
        await asyncio.Event().wait()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
