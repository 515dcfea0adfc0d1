"""The part that dispatcher and worker play in deliveries, and the ends that a receiver gives them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from models.platform.vault import Vault
from models.schema import Endpoint
from models.states import DeliveryState
from models.webhooks import deliveries, endpoints
from models.webhooks.deliveries import ClaimedDelivery, Logged, Patience, Replayed, TryResult, Woken
from models.webhooks.endpoints import Wish
from tests.making import Bench

URL = "https://receiver.example/hooks"
LEASE = timedelta(seconds=30)
PATIENCE = Patience(timedelta(days=5), timedelta(hours=24), 100)
NOTHING = timedelta(0)

DELIVERED = TryResult("delivered", "delivered", 200, timedelta(milliseconds=12))
LATER = TryResult("pending", "HTTP 500", 500, timedelta(seconds=1), next_in=timedelta(minutes=5))
EXHAUSTED = TryResult("exhausted", "timeout", None, timedelta(seconds=15))
BLOCKED = TryResult("blocked", "address refused", None, NOTHING)
GIVEN_UP = TryResult("aborted", "the receiver gave this message up", 400, NOTHING)
GONE = TryResult("held", "410 Gone", 410, NOTHING, endpoint="disable")
BUSY = TryResult(
    "pending", "HTTP 429", 429, NOTHING, next_in=timedelta(seconds=60), pause=timedelta(seconds=60)
)


async def endpoint(bench: Bench, vault: Vault, *events: str, url: str = URL) -> Endpoint:
    """Register an endpoint of the bench's project."""
    return (await registered(bench, vault, Wish(url, events)))[0]


async def registered(bench: Bench, vault: Vault, wish: Wish) -> tuple[Endpoint, str]:
    """Register an endpoint as wished; returns its secret too."""
    project_id = bench.caller.project_id
    return await bench.do(lambda tx: endpoints.register(tx, vault, project_id, wish))


async def change(bench: Bench, made: Endpoint, **changes: object) -> Endpoint:
    """Change an endpoint as its project."""
    project_id = bench.caller.project_id
    return await bench.do(lambda tx: endpoints.change(tx, project_id, made.id, changes))


async def find(bench: Bench, made: Endpoint) -> Endpoint:
    """Read an endpoint again."""
    return await bench.do(lambda tx: endpoints.find(tx, bench.caller.project_id, made.id))


async def finished(bench: Bench, **changes: object) -> UUID:
    """Submit a job and cancel it: one terminal event."""
    job_id = await bench.submit(**changes)
    await bench.cancel(job_id)
    return job_id


async def wake(
    bench: Bench, slots: int = 100, *, cap: int = 8, rate: int = 10_000
) -> Sequence[tuple[UUID, int]]:
    """Hand out what is due; the rate is beyond what these tests ask of it."""
    return (await look(bench, slots, cap=cap, rate=rate)).due


async def look(bench: Bench, slots: int = 100, *, cap: int = 8, rate: int = 10_000) -> Woken:
    """Hand out what is due, and tell when to look again; with so many places that no share binds."""
    return await bench.do(
        lambda tx: deliveries.wake(tx, 10_000, LEASE, cap=cap, rate=rate, most=slots)
    )


async def take(bench: Bench, vault: Vault, woken: tuple[UUID, int]) -> ClaimedDelivery | None:
    """Take a try that was woken: as a worker does, in the plain way first."""
    if bench.plain:
        parcel = await deliveries.take_plain(bench.database.direct, vault, *woken, LEASE)
        if parcel is not None:
            return parcel
    return await bench.do(lambda tx: deliveries.take(tx, vault, *woken, LEASE))


async def record(bench: Bench, woken: tuple[UUID, int], tried: TryResult) -> DeliveryState | None:
    """Record what a try met, in the plain way first."""
    at = datetime.now(UTC)
    if bench.plain and await deliveries.record_plain(bench.database.direct, *woken, at, tried):
        return tried.state
    return await bench.do(lambda tx: deliveries.record(tx, *woken, at, tried, PATIENCE))


async def reap(bench: Bench) -> int:
    """Let every lease of a delivery run out, and take the reaper's round."""
    await bench.run(
        "UPDATE deliveries SET lease_until = now() - interval '1 s' WHERE state='sending'"
    )
    return await bench.do(lambda tx: deliveries.reap(tx, 100))


async def states(bench: Bench) -> list[tuple[str, int]]:
    """Read the state and the tries of every delivery, in the order in which they arose."""
    rows = await bench.rows("SELECT state, tries FROM deliveries ORDER BY id")
    return [(row["state"], row["tries"]) for row in rows]


async def sending(bench: Bench, vault: Vault) -> tuple[Endpoint, tuple[UUID, int]]:
    """Make an endpoint with one delivery that a worker has taken."""
    made = await endpoint(bench, vault)
    return made, await one_more(bench, vault)


async def one_more(bench: Bench, vault: Vault) -> tuple[UUID, int]:
    """Make one more event, whose delivery a worker has taken."""
    await finished(bench)
    return await taken(bench, vault)


async def tried_again(bench: Bench, vault: Vault) -> tuple[UUID, int]:
    """Let everything pending be due, and a worker take the one that is woken."""
    await bench.run("UPDATE deliveries SET next_at = now() WHERE state = 'pending'")
    return await taken(bench, vault)


async def taken(bench: Bench, vault: Vault) -> tuple[UUID, int]:
    """Let a worker take the one that is due first."""
    (woken,) = await wake(bench, 1)
    assert await take(bench, vault, woken)
    return woken


async def redeliver(bench: Bench, delivery_id: UUID) -> Logged:
    """Send a delivery again, as its project."""
    project_id = bench.caller.project_id
    return await bench.do(lambda tx: deliveries.redeliver(tx, project_id, delivery_id))


async def replay(
    bench: Bench,
    made: Endpoint,
    *states: DeliveryState,
    after: UUID | None = None,
    limit: int = 100,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Replayed:
    """Replay one batch of what an endpoint did not get, as its project."""
    return await bench.do(
        lambda tx: deliveries.replay(
            tx, bench.caller.project_id, made.id,
            since=since, until=until, states=states or ("held",), after=after, limit=limit,
        )
    )  # fmt: skip
