"""What the routes stand on: opened when a process starts, closed in the reverse order when it stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta

from api.dependencies.state import State
from api.edge.callers import Callers
from api.edge.callers.rates import Rates
from api.edge.callers.shares import Shares
from api.sharing.admissions import Admissions
from api.sharing.calls import Calls
from api.sharing.conversions import Conversions
from api.sharing.intakes import AT_ONCE, PATIENCE, Intakes
from api.sharing.queues import Queues
from api.sharing.readings import Readings
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
from models.settings import Settings

_PATIENCE = timedelta(seconds=10)  # with Postgres, in one request: clients wait for 30 s, often


@asynccontextmanager
async def open_state(settings: Settings, pictures: Pictures | None = None) -> AsyncIterator[State]:
    """Open what the routes stand on; `pictures` that are given are somebody else's, who ends them."""
    async with AsyncExitStack() as stack:
        doorbell = await stack.enter_async_context(Doorbell(settings.redis_url.get_secret_value()))
        await doorbell.listen("job", "delivery", "batch", "fetch")
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
        if pictures is None:
            made = Pictures(children=DECODERS, cpu=CPU, wall=WALL)
            pictures = await stack.enter_async_context(made)
        state = _state(settings, doorbell, database, intake, pictures)
        stack.push_async_callback(state.watching.close)
        stack.push_async_callback(state.calls.finish)
        for endless in (
            state.waiting.sweep_for_ever(),
            state.calls.see_for_ever(),
            state.callers.uses.write_for_ever(),
            # Requests are answered meanwhile, each by itself; this only says what is missing.
            _see_premises(state),
        ):
            stack.push_async_callback(_cancel, asyncio.create_task(endless))
        yield state


def _state(
    settings: Settings,
    doorbell: Doorbell,
    database: Database,
    intake: Database,
    decoders: Pictures,
) -> State:
    store, vault = Store(settings.storage_url), Vault.of(settings)
    presenter = Presenter.of(settings, vault)
    turns, readings = Turns(database, settings), Readings(database)
    return State(
        settings=settings,
        database=database,
        doorbell=doorbell,
        store=store,
        vault=vault,
        presenter=presenter,
        callers=Callers(
            database,
            Rates(settings.requests_per_minute),
            settings.balancers,
            Shares(settings.connections_max),
        ),
        queues=Queues(database, settings.queued_max, told=settings.deliveries_max),
        admissions=Admissions(database, turns, presenter),
        readings=readings,
        waiting=Waiting(database, doorbell, readings),
        watching=Watching(database, turns),
        prices=PriceList(database),
        references=References(decoders),
        reports=Reports(database, settings),
        turns=turns,
        calls=Calls(database),
        conversions=Conversions(store, decoders),
        intakes=Intakes(intake),
    )


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
