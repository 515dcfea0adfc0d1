"""What a turn of the dispatcher costs that finds nothing to do: about what asking Postgres once costs."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from models.coordination import workers
from models.jobs import agenda
from tests.fixtures.counting import counted
from tests.fixtures.spending import House
from worker.dispatcher import duty, timetable
from worker.dispatcher.duties import (
    budgeting,
    dispatching,
    emptying,
    fetching,
    following,
    looking,
    measuring,
    parking,
    reaping,
    waking,
)
from worker.dispatcher.duty import Dispatcher, repeat

_TURNS = 10
_AT_ONCE = timedelta(0)
# Times one SELECT through the same pool: 1.0 to 1.2, and 3.9 for the reaper, which is a transaction.
# A session of SQLAlchemy takes many times that. The metrics are sixteen SELECTs, and 20.9.
_MOST, _MORE = 2, {"reap": 5, "measure": 24}

_TOPICS = {
    each: each for each in agenda.DUTIES
}  # the reaper's mark may grow old meanwhile: it is rung

Turn = Callable[[House], Awaitable[object]]

_IDLE: dict[str, Turn] = {
    "dispatch": lambda house: dispatching.run(house.reader.dispatcher, dispatching.Last()),
    "wake": lambda house: waking.run(house.reader.dispatcher, waking.Cursor()),
    "reap": lambda house: reaping.run(house.reader.dispatcher),
    "expire": lambda house: reaping.expire(house.reader.dispatcher),
    "follow": lambda house: following.run(house.reader.dispatcher),
    "look": lambda house: looking.run(house.reader.dispatcher, _TOPICS),
    "fund": lambda house: budgeting.readmit(house.reader.dispatcher),
    "tell": lambda house: budgeting.tell(house.reader.dispatcher, budgeting.Round()),
    "park": lambda house: parking.run(house.reader),
    "empty": lambda house: emptying.run(house.reader.dispatcher),
    "fetch": lambda house: fetching.run(house.reader.dispatcher),
    "measure": lambda house: measuring.run(house.reader.dispatcher),
}


async def test_a_turn_that_finds_nothing_costs_about_one_question(house: House) -> None:
    await house.bench.do(
        lambda tx: workers.report(tx, "w", generate_slots=9, deliver_slots=9, draining=False)
    )

    async def ask(house: House) -> object:
        return await house.bench.database.direct.read(b"SELECT 1 AS one", {})

    for turn in (ask, *_IDLE.values()):
        await _calls(house, turn)  # statements are prepared, connections open
    one = await _calls(house, ask)
    cost = {name: round(await _calls(house, turn) / one, 1) for name, turn in _IDLE.items()}
    most = dict.fromkeys(_IDLE, _MOST) | _MORE
    assert {name: times for name, times in cost.items() if times > most[name]} == {}


async def test_turns_that_nobody_rings_for_come_with_one_tick_one_after_another(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine stands still for longer than a turn has patience with others.
    monkeypatch.setattr(duty, "_PATIENCE", 30.0)
    dispatcher = _ticking(house, 1.0)
    begun, under_way, most = list[float](), 0, 0
    enough = asyncio.Event()

    async def turn() -> bool:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        begun.append(time.monotonic())
        await asyncio.sleep(0.002)
        under_way -= 1
        if len(begun) >= 12:
            enough.set()
        return False

    every = timedelta(seconds=1)
    async with _repeated(*(repeat(dispatcher, f"d{n}", turn, every=every) for n in range(4))):
        await asyncio.wait_for(enough.wait(), 30)
    assert most == 1
    late = sorted((at + 0.01) % 1 for at in begun[4:])  # the first come at once
    assert late[len(late) // 2] < 0.5, "they do not come with the seconds of the clock"


async def test_a_ring_waits_for_no_turn_of_another_duty(house: House) -> None:
    dispatcher = _ticking(house, 0.1)
    holds, rung = asyncio.Event(), asyncio.Event()
    turns = 0

    async def hold() -> bool:
        holds.set()
        await asyncio.Event().wait()
        return False

    async def ring() -> bool:
        nonlocal turns
        turns += 1
        if turns > 1:
            rung.set()
        return False

    hour = timedelta(hours=1)
    quick = repeat(dispatcher, "quick", ring, every=hour, topic="test")
    async with _repeated(quick, repeat(dispatcher, "slow", hold, every=hour)):
        await asyncio.wait_for(holds.wait(), 30)
        dispatcher.doorbell.wake("test")
        await asyncio.wait_for(rung.wait(), 30)


def _ticking(house: House, tick: float) -> Dispatcher:
    dispatcher = house.reader.dispatcher
    settings = dispatcher.settings.model_copy(update={"tick": timedelta(seconds=tick)})
    return replace(dispatcher, settings=settings)


@asynccontextmanager
async def _repeated(*duties: Coroutine[object, object, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each) for each in duties]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_has_something_to_do_is_woken_and_nobody_else(house: House) -> None:
    dispatcher = house.reader.dispatcher
    topics = {each.name: each.topic or each.name for each in timetable.looked_for(dispatcher)}
    assert topics.keys() == agenda.DUTIES
    with ExitStack() as stack:
        bells = {
            duty: stack.enter_context(dispatcher.doorbell.waiter(topic))
            for duty, topic in topics.items()
        }

        async def woken() -> set[str]:
            await looking.run(dispatcher, topics)
            return {duty for duty, bell in bells.items() if await bell.wait(_AT_ONCE)}

        assert await woken() == {"reap"}, "to mark its tick"
        await reaping.run(dispatcher)
        assert await woken() == set()
        await house.submit()
        assert await woken() == {"release"}
        # One look is at fault, and none can be asked: each duty finds out by itself.
        await house.bench.run("ALTER TABLE actions RENAME COLUMN status TO lost")
        assert await woken() == agenda.DUTIES


async def _calls(house: House, turn: Turn) -> int:
    """Return the calls of functions that so many turns take."""
    with counted() as work:
        for _ in range(_TURNS):
            assert not await turn(house) or turn not in _IDLE.values(), "there is something to do"
    return work.calls
