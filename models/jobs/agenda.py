"""What a dispatcher would find to do: one question a tick, for all duties that begin with a look.

Each of them has its own look (decision 37), and asks it when it is rung for. Without a ring nothing has
happened, as a rule; then this one statement stands for nine turns.
"""

from collections.abc import Set as AbstractSet
from datetime import timedelta

from sqlalchemy import text

from models.coordination import duties
from models.images import fetches
from models.jobs import actions, batches, erasures
from models.jobs.endings import expiring, following
from models.jobs.queue import sharing
from models.jobs.running import reaping
from models.platform.db.statements import Reader, Statement, prepared, written_out
from models.webhooks import deliveries


async def to_do(tx: Reader, *, lease: timedelta, typical_call: timedelta) -> AbstractSet[str]:
    """Return the duties that have something to do, by name. `lease` is how long a running job is leased.

    Some may find, when they take a turn, that a limit, a gate or a full worker is in the way.
    """
    times = {"mark": duties.mark(lease), "typical_call": typical_call}
    (row,) = await tx.read(_TO_DO, {**_ONE, **times})
    return frozenset(duty for duty, wanted in row.items() if wanted)


def _any(statement: Statement) -> str:
    return f"EXISTS ({statement.decode()})"


_UNMARKED = prepared(text(duties.UNMARKED)).decode()
_ONE = {"limit": 1, "batch": 1, "leaders": 1, "followers": 1, "half": batches.HALF}
_LOOKS = {
    "release": f"{sharing.PAID_WAIT} OR {sharing.CALLS_WAIT}",
    "wake": deliveries.DUE,
    "reap": f"{_UNMARKED} OR {_any(reaping.OVERDUE)} OR {_any(deliveries.RUN_OUT)}",
    "expire": _any(expiring.LATE),
    "follow": _any(following.LED),
    "batches": _any(batches.DUE),
    "act": _any(actions.RUNNING),
    "erase": _any(erasures.DUE),
    "fetch": _any(fetches.WAITING),
}
DUTIES: AbstractSet[str] = _LOOKS.keys()
_TO_DO = written_out(f"SELECT {', '.join(f'{look} AS {duty}' for duty, look in _LOOKS.items())}")
