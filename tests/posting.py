"""Sends deliveries as a worker does, in this process, and receives them as a customer would."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from aiohttp import web
from pydantic import SecretStr

from models.images.pictures import Pictures
from models.images.storage import Store
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.doorbell import Doorbell
from models.platform.vault import Vault
from models.settings import Settings
from models.webhooks import deliveries
from worker import deliver
from worker.egress.guarded import Egress
from worker.provider import Provider
from worker.runtime.context import Context
from worker.runtime.thumbnails import Thumbnails

LEASE = timedelta(seconds=30)


@dataclass(frozen=True)
class Post:
    """The dispatcher's and the worker's part in a delivery."""

    context: Context

    async def send_due(self) -> int:
        """Try once whatever is due; returns how many."""
        async with self.context.database.transaction() as tx:
            woken = await deliveries.wake(tx, 100, LEASE, cap=100, rate=1000)
        for delivery_id, number in woken.due:
            await deliver.run(self.context, delivery_id, number)
        return len(woken.due)


@asynccontextmanager
async def posting(settings: Settings, ring: Callable[[str, str], None]) -> AsyncIterator[Post]:
    """Open what a worker needs to deliver, and nothing that it needs for images."""
    database = Database(settings, ring=ring, pool=2)
    store = Store(settings.storage_url)
    vault, doorbell = Vault.of(settings), Doorbell(settings.redis_url.get_secret_value())
    async with Egress(settings.egress_allow, settings.egress_ports) as egress:
        yield Post(
            Context(
                settings=settings,
                worker="w1",
                database=database,
                heartbeats=database,
                doorbell=doorbell,
                store=store,
                provider=Provider("http://127.0.0.1:1", SecretStr("none"), LEASE),
                egress=egress,
                pictures=Pictures(),
                thumbnails=Thumbnails(store, database.direct, Pictures()),
                vault=vault,
                presenter=Presenter(settings.public_url, vault),
            )
        )
    await database.close()


@dataclass(frozen=True)
class Letter:
    """A request as it came in."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Mailbox:
    """A receiver that answers as it is told, and keeps what came."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        """Take one request."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.letters.append(Letter(headers, await request.read()))
        return web.Response(status=self.status, headers=self.headers)


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    """Run a receiver on a free port."""
    box, app = Mailbox(), web.Application()
    app.router.add_post("/hook", box.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        box.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield box
    finally:
        await runner.cleanup()
