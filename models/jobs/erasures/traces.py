"""What names a subject beside its jobs and the books: actions, batches, and notices of budgets."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, false, func, or_, select, text, update

from models.jobs.erasures import batches
from models.platform.db import Transaction
from models.schema import Action, Batch, Event
from models.webhooks import bodies

_FORGOTTEN = {"erased": True}
_EMPTIED = text("""jsonb_set(stopped_because, '{detail}', '"It was erased."')""")


async def actions_under_way(tx: Transaction, project_id: UUID, words: Sequence[str]) -> bool:
    """Return whether an action names one of these that has not ended: it needs its filter until then."""
    if not words:
        return False
    mine = _naming(project_id, words)
    found = select(Action.id).where(*mine, Action.status == "running")
    return await tx.scalar(found.limit(1)) is not None


async def forget_actions(tx: Transaction, project_id: UUID, words: Sequence[str]) -> int:
    """Forget what actions were about that name one of these, and what they met; return how many."""
    if not words:
        return 0
    forgotten = {
        "filter": _FORGOTTEN,
        "reasons": {},
        "idempotency_hash": None,
        "fingerprint": None,
        "stopped_because": _EMPTIED,
    }
    gone = update(Action).where(*_naming(project_id, words)).values(forgotten)
    return len((await tx.scalars(gone.returning(Action.id))).all())


async def forget_batches(tx: Transaction, project_id: UUID, words: Sequence[str]) -> int:
    """Forget what batches say that names one of these, or have no other rows; return how many."""
    said = func.concat(cast(Batch.meta, Text), " ", Batch.idempotency_key, " ", Batch.webhook_url)
    return await batches.forget(tx, project_id, _has(said, words) if words else false())


async def forget_notices(tx: Transaction, project_id: UUID, name: str, until: datetime) -> int:
    """Take a customer's name out of what was told of budgets; return how many bodies had it."""
    told = select(Event).where(
        Event.project_id == project_id, Event.job_id.is_(None), Event.created_at <= until,
        Event.type == "budget.threshold",
    )  # fmt: skip
    count = 0
    for event in await tx.scalars(told):
        body = bodies.without_customer(event.body, name)
        if body != event.body:
            await tx.execute(update(Event).where(Event.id == event.id).values(body=body))
            count += 1
    return count


def _naming(project_id: UUID, words: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    """Return, as SQL, whether an action has one of these in what it is about, or says."""
    said = func.concat(
        cast(Action.filter, Text), cast(Action.reasons, Text), cast(Action.stopped_because, Text)
    )
    return Action.project_id == project_id, _has(said, words)


def _has(said: ColumnElement[str], words: Sequence[str]) -> ColumnElement[bool]:
    """Return, as SQL, whether a text has one of these, as JSON writes them without the quotes around."""
    written = (func.btrim(cast(func.to_jsonb(cast(word, Text)), Text), '"') for word in words)
    return or_(*(func.strpos(said, each) > 0 for each in written))
