"""The real application behind a real port, as a backend service meets it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

import httpx
import pytest

from api.app import create_app
from api.edge.connections.serving import Server
from models.images.pictures import Pictures
from models.jobs.view import Presenter
from models.money.prices import PriceList
from models.platform.db import Database
from models.platform.vault import Vault
from models.settings import Settings
from tests.conftest import PLAIN, make_project, make_settings
from tests.fixtures.databases import EMPTY, Databases
from tests.fixtures.decoders import DECODERS
from tests.fixtures.promises import PROMISES
from tests.integration.api.client import Api
from tests.integration.api.life import Life

Serve = Callable[[Settings], AbstractAsyncContextManager[Api]]


@asynccontextmanager
async def serve(
    settings: Settings, database: Database, pictures: Pictures | None = DECODERS
) -> AsyncIterator[Api]:
    """Serve these settings on a free port; stopped in good order when the block ends.

    With None for `pictures` the API starts decoding children of its own, as in earnest.
    """
    app = create_app(settings, pictures)
    server = Server(app, settings.model_copy(update={"grace": timedelta(seconds=5)}))
    vault = Vault.of(settings)
    presenter = Presenter(settings.public_url, vault)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            caller, key = await make_project(database, vault, "shop")
            life = Life(database, presenter, settings.storage_url, caller)
            async with _client(url, key) as client:
                yield Api(url, key, client, app.state.darkroom, life)
        finally:
            server.should_exit = True
            await serving


@pytest.fixture
async def api(shared: Api) -> AsyncIterator[Api]:
    """An API that has seen nothing yet, and its first project; starting one for each test is slow."""
    await shared.life.alter(EMPTY)
    for blob in shared.life.blobs():
        blob.unlink()
    state, life = shared.state, shared.life
    state.prices = PriceList(state.database)
    state.waiting.draining = False
    caller, key = await make_project(life.database, state.vault, "shop")
    async with _client(shared.url, key) as client:
        yield Api(shared.url, key, client, state, replace(life, caller=caller))
    await PROMISES.keep_events(life.database)


@pytest.fixture(scope="module")
def decoding() -> Pictures | None:
    """What decodes for the API of a file: children that all files share."""
    return DECODERS


@pytest.fixture(scope="module")
async def shared(
    databases: Databases,
    redis_server: str,
    tmp_path_factory: pytest.TempPathFactory,
    decoding: Pictures | None,
) -> AsyncIterator[Api]:
    """One API for a whole file, and as it is for tests that leave nothing behind."""
    with databases.own() as url:
        settings = make_settings(
            database_url=url,
            redis_url=redis_server,
            storage_url=str(tmp_path_factory.mktemp("images")),
        )
        database = Database(settings, ring=lambda _topic, _key: None)
        async with serve(settings, database, decoding) as running:
            yield running
        await database.close()


@pytest.fixture
def serving(database: Database) -> Serve:
    """Return what serves other settings on this test's database, for an `async with`."""
    return partial(serve, database=database)


def _client(url: str, key: str) -> httpx.AsyncClient:
    PROMISES.read()
    return httpx.AsyncClient(
        base_url=url,
        headers={"authorization": f"Bearer {key}"},
        timeout=30,
        limits=httpx.Limits(max_connections=None),
        trust_env=False,
        verify=PLAIN,
        event_hooks={"response": [PROMISES.keep]},
    )
