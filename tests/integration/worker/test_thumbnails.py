"""Thumbnails: drawn beside the work, in turns of the projects, and in nobody's way."""

import asyncio

from models.ids import new
from models.images.pictures import Pictures
from models.images.storage import Store
from models.platform.db import Database
from models.settings import Settings
from tests.fixtures.drawing import draw
from worker.runtime.thumbnails import Thumbnails

_PILE = 12


async def test_a_projects_pile_does_not_keep_another_waiting(
    settings: Settings, database: Database
) -> None:
    store, hostile, quiet = Store(settings.storage_url), new(), new()
    pile = [await store.put(str(hostile), draw("png"), "image/png") for _ in range(_PILE)]
    one = await store.put(str(quiet), draw("png", (64, 48)), "image/png")
    async with (
        Pictures(children=1) as pictures,
        Thumbnails(store, database.direct, pictures) as thumbnails,
    ):
        for each in pile:
            thumbnails.ask(new(), hostile, each.sha256)
        thumbnails.ask(new(), quiet, one.sha256)
        async with asyncio.timeout(20):
            while await store.size(f"{one.key}.thumb") is None:  # noqa: ASYNC110 - the file is the event
                await asyncio.sleep(0.005)
        drawn = [await store.size(f"{each.key}.thumb") is not None for each in pile]
        await thumbnails.drawn()
    assert sum(drawn) < _PILE / 2, f"{sum(drawn)} of the pile came before it"
    assert all([await store.size(f"{each.key}.thumb") for each in pile])


async def test_what_is_asked_for_twice_is_drawn_once_and_the_end_leaves_the_rest(
    settings: Settings, database: Database
) -> None:
    store, project = Store(settings.storage_url), new()
    pile = [await store.put(str(project), draw("png"), "image/png") for _ in range(_PILE)]
    async with (
        Pictures(children=1) as pictures,
        Thumbnails(store, database.direct, pictures) as thumbnails,
    ):
        job = new()
        for each in pile:
            thumbnails.ask(job, project, each.sha256)
        await thumbnails.drawn()
        for each in pile:
            thumbnails.ask(new(), project, each.sha256)
    drawn = [await store.size(f"{each.key}.thumb") is not None for each in pile]
    assert drawn == [True] + [False] * (_PILE - 1)
