"""What the work of one process stands on: opened once, closed in order."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from pydantic import SecretStr

from models.errors import Misconfigured
from models.images.pictures import Pictures
from models.images.storage import Store
from models.jobs import Kept, Received
from models.jobs.attempts import Ref
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.doorbell import Doorbell
from models.platform.places import Places
from models.platform.together import Lines, Together
from models.platform.vault import Vault
from models.schema import Job
from models.settings import Settings
from models.states import DeliveryState
from models.webhooks.deliveries import Place, Tried
from worker.egress.guarded import Egress
from worker.provider import Provider
from worker.runtime.flight import Flight
from worker.runtime.pulse import Pulse
from worker.runtime.thumbnails import CHILDREN, NICE, Thumbnails

_FETCHED = 64  # images on their way to the store, each with up to 1 MiB of it in memory
# Whole ones: one for each decoding child, and one ready for the next; and how many of one project's, so
# that the next is never behind its pile. All that have places of calls may stand in its line.
_LOOKED_AT, _SHARE = 3, 2
_LINE = 1_000_000
_LINKS, _LINKS_SHARE = 8, 2
_TURNS = 2  # on the database; some hundred jobs a second


# Whose job or delivery a task is at, once it knows.
whose: ContextVar[UUID | None] = ContextVar("whose", default=None)


@dataclass(frozen=True, slots=True, eq=False)
class Fresh:
    """The new deliveries of one job, by their destinations."""

    places: Sequence[Place]


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A try that has ended, and whether another may follow it in its destination."""

    tried: Tried
    follows: bool


@dataclass(frozen=True, slots=True)
class AccountSays:
    """What the provider's account said: nothing, that it refuses the key, or how many credits there are."""

    key: Literal["silent", "refused", "accepted"]
    credits: int = 0


@dataclass(slots=True)
class Context:
    """The resources of a worker, and what it has in flight.

    `heartbeats` is a connection of its own: renewing leases must not wait behind the work.
    """

    settings: Settings
    worker: str
    database: Database
    heartbeats: Database
    doorbell: Doorbell
    store: Store
    provider: Provider
    egress: Egress
    pictures: Pictures
    thumbnails: Thumbnails
    vault: Vault
    presenter: Presenter
    # A thousand answers may come at once; their images come in turns, and take bounded memory.
    fetching: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_FETCHED))
    looking: Places = field(
        default_factory=lambda: Places(_LOOKED_AT, share=_SHARE, line=_LINE, crowded="")
    )
    # Pictures that are fetched for files: 10 MiB each at most, from hosts as slow as they like.
    links: Places = field(
        default_factory=lambda: Places(_LINKS, share=_LINKS_SHARE, line=_LINE, crowded="")
    )
    # No project has more than two turns at once, however much of its work ends in one moment: its
    # statements may all wait for one row, and another's wait for the time of the loop and of Postgres.
    turns: Places = field(init=False)
    flight: Flight = field(init=False)
    # What deliveries do together: those that are new begin, and tries that have ended are written down.
    fresh: Together[Fresh, bool] | None = None
    tries: Lines[DeliveryState, Finished, bool] | None = None
    # What the jobs of one project do together: their images are booked, and they end.
    received: Lines[UUID, Received, bool] | None = None
    succeeded: Lines[UUID, Kept, Job] | None = None
    running: set[Ref] = field(default_factory=set)
    strays: set[Ref] = field(default_factory=set)  # in flight still, and not ours any more
    # What a store that refused an image is tried with, one at a time; and how often it was.
    trying_store: asyncio.Lock = field(default_factory=asyncio.Lock)
    store_tries: int = 0
    # What the provider's account said of key and wallet, and when it was asked; one call asks at a time.
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    account: tuple[float, AccountSays | None] = (0.0, None)
    waits_for: str = "Postgres"  # in words, until it is ready
    consuming: bool = False  # until Celery takes messages, what is dispatched would only wait
    draining: bool = False
    leaves_by: float = math.inf  # by the monotonic clock: when its grace ends
    heart: Pulse = field(default_factory=Pulse)  # beats with each heartbeat that got through

    def __post_init__(self) -> None:
        pool = self.settings.database_pool
        self.turns = Places(2 * pool, share=min(_TURNS, pool), line=_LINE, crowded="")
        self.flight = Flight(self.settings)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a turn on the database for the project that this task is at, if it knows one by now."""
        async with AsyncExitStack() as stack:
            if (project_id := whose.get()) is not None:
                await stack.enter_async_context(self.turns.take(project_id, patience=None))
            yield


@asynccontextmanager
async def open_context(
    settings: Settings, worker: str, *, pictures: Pictures | None = None
) -> AsyncIterator[Context]:
    """Open everything a worker needs; raises `Misconfigured` without a provider key.

    `pictures` that are given are somebody else's, who ends them.
    """
    key, vault = _key(settings), Vault.of(settings)
    async with AsyncExitStack() as stack:
        doorbell = await stack.enter_async_context(Doorbell(settings.redis_url.get_secret_value()))
        database = Database(settings, ring=doorbell.ring, name="darkroom-worker")
        stack.push_async_callback(database.close)
        heartbeats = Database(settings, ring=doorbell.ring, pool=1, name="darkroom-heartbeat")
        stack.push_async_callback(heartbeats.close)
        store = Store(settings.storage_url)
        if pictures is None:
            pictures = await stack.enter_async_context(Pictures())
            drawing = await stack.enter_async_context(Pictures(children=CHILDREN, nice=NICE))
        else:
            drawing = pictures
        yield Context(
            settings=settings,
            worker=worker,
            database=database,
            heartbeats=heartbeats,
            doorbell=doorbell,
            store=store,
            provider=await stack.enter_async_context(
                Provider(settings.aimlapi_base_url, key, settings.connect_timeout)
            ),
            egress=await stack.enter_async_context(
                Egress(settings.egress_allow, settings.egress_ports)
            ),
            pictures=pictures,
            thumbnails=await stack.enter_async_context(Thumbnails(store, database.direct, drawing)),
            vault=vault,
            presenter=Presenter.of(settings, vault),
        )


def _key(settings: Settings) -> SecretStr:
    key = settings.aimlapi_key
    if key is None or not key.get_secret_value():
        raise Misconfigured(
            "AIMLAPI_KEY is not set; a worker cannot make calls without it. Set it, or run the "
            "local stack (`make up`), which has a simulator."
        )
    return key
