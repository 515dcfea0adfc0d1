"""Every duty of a dispatcher: by what it is woken, and how often it is done anyway.

What is rung for is also looked for once a tick, by one question for all (`looking`), so that a ring that
was lost costs little more than a tick. Those duties are done anyway a few times a minute, whatever was
found.
"""

from collections.abc import Coroutine, Iterator
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from models.images.storage import Store
from models.settings import Settings
from worker.dispatcher.account import matching, pricing, reconciling, wallet
from worker.dispatcher.account.accounting import AccountReader
from worker.dispatcher.account.matching import Reported
from worker.dispatcher.duties import (
    acting,
    auditing,
    batching,
    budgeting,
    dispatching,
    emptying,
    erasing,
    fetching,
    folding,
    following,
    forgetting,
    looking,
    measuring,
    parking,
    reaping,
    redrawing,
    retaining,
    waking,
)
from worker.dispatcher.duty import REST, Dispatcher, Turn, own_topic, repeat

_FASTEST = timedelta(seconds=1)
_RECONCILE_SLOWEST, _RECHECK_SLOWEST = timedelta(seconds=60), timedelta(hours=1)
_STATEMENT_SLOWEST = timedelta(minutes=15)
_PRICES = timedelta(minutes=10)
_MINUTE, _LOOK = timedelta(seconds=60), timedelta(seconds=10)
_AUDIT, _EMPTY = timedelta(minutes=10), timedelta(seconds=10)
_ANYWAY = 10  # ticks
# A call lasts for most of a minute: in a stream of jobs none loses much by waiting for so long at most, and
# one turn dispatches all that came. One that comes alone is dispatched at once.
_BETWEEN = timedelta(milliseconds=150)
_BUDGETS = timedelta(seconds=5)  # what waits for room in a budget waits for hours, as a rule


class Entry(NamedTuple):
    """A duty: its name in logs and metrics, its turn, the time between turns, and what rings for it.

    Turns that are rung for come no faster than one in a `rest`, but for the first few.
    """

    name: str
    turn: Turn
    every: timedelta
    topic: str | None = None
    rest: timedelta = REST


def duties(dispatcher: Dispatcher, reader: AccountReader) -> list[Coroutine[object, object, None]]:
    """Return every duty, to be run side by side; raise `Misconfigured` for a store that cannot be."""
    entries = (*_of_postgres(dispatcher), *_of_the_account(reader, dispatcher.settings))
    return [
        repeat(dispatcher, name, turn, every=every, topic=topic, rest=rest)
        for name, turn, every, topic, rest in entries
    ]


def looked_for(dispatcher: Dispatcher) -> Iterator[Entry]:
    """Yield the duties that `looking` wakes."""
    anyway = _ANYWAY * dispatcher.settings.tick
    release = partial(dispatching.run, dispatcher, dispatching.Last())
    yield Entry("release", release, anyway, "jobs", _BETWEEN)
    yield Entry("wake", partial(waking.run, dispatcher, waking.Cursor()), anyway, "deliveries")
    yield Entry("reap", partial(reaping.run, dispatcher), anyway)
    yield Entry("expire", partial(reaping.expire, dispatcher), anyway)
    yield Entry("follow", partial(following.run, dispatcher), anyway, "followers")
    yield Entry("batches", partial(batching.run, dispatcher), anyway, "batches")
    yield Entry("act", partial(acting.run, dispatcher), anyway, "actions")
    yield Entry("erase", partial(erasing.run, dispatcher), anyway, "erasures")
    yield Entry("fetch", partial(fetching.run, dispatcher), anyway, "fetches")


def _of_postgres(dispatcher: Dispatcher) -> Iterator[Entry]:
    store, rung_for = Store(dispatcher.settings.storage_url), [*looked_for(dispatcher)]
    yield from rung_for
    topics = {each.name: each.topic or own_topic(each.name) for each in rung_for}
    yield Entry("look", partial(looking.run, dispatcher, topics), dispatcher.settings.tick)
    yield Entry("readmit", partial(budgeting.readmit, dispatcher), _BUDGETS)
    yield Entry("budgets", partial(budgeting.tell, dispatcher, budgeting.Round()), _BUDGETS)
    yield Entry("audit", partial(auditing.run, dispatcher), _AUDIT)
    yield Entry("fold", partial(folding.run, dispatcher), _MINUTE)
    yield Entry("measure", partial(measuring.run, dispatcher), _LOOK)
    yield Entry("forget", partial(forgetting.run, dispatcher), _AUDIT)
    yield Entry("thumbnails", partial(redrawing.run, dispatcher), _MINUTE)
    yield Entry("empty", partial(emptying.run, dispatcher), _EMPTY)
    yield Entry("retain", partial(retaining.run, dispatcher, store), _MINUTE)


def _of_the_account(reader: AccountReader, settings: Settings) -> Iterator[Entry]:
    lag = settings.log_lag  # how late the provider's log is: asking sooner would find nothing
    reconcile = min(max(lag / 4, _FASTEST), _RECONCILE_SLOWEST)
    recheck = min(max(4 * lag, _FASTEST), _RECHECK_SLOWEST)
    statement = min(max(lag, _FASTEST), _STATEMENT_SLOWEST)
    yield Entry("reconcile", partial(reconciling.run, reader), reconcile)
    yield Entry("recheck", partial(reconciling.recheck, reader), recheck)
    yield Entry("match", partial(matching.run, reader, Reported()), statement)
    yield Entry("prices", partial(pricing.run, reader), _PRICES)
    yield Entry("wallet", partial(wallet.run, reader), _MINUTE)
    yield Entry("park", partial(parking.run, reader), settings.gate_probe)
