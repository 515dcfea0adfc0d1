"""What an operator lets a call cost to a model whose price cannot be told ahead."""

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from models.audit_log import recording
from models.errors import Conflict, NotFound
from models.platform.db import Transaction
from models.provider import catalog
from models.schema import Price


async def allow(tx: Transaction, model_id: str, hold: int | None) -> str:
    """Let a model be called that has no price of its own: `hold` credits are held, and are its most.

    None takes it back. Returns the model's id. Raises `NotFound`, and `Conflict` for one that has a price.
    """
    model = catalog.find(model_id)
    if model is None:
        raise NotFound(catalog.no_such_model(model_id))
    row = await tx.scalar(select(Price).where(Price.model == model.id).with_for_update())
    if hold is not None and (
        model.price is not None or (row is not None and row.quoted is not None)
    ):
        raise Conflict(f"{model.id} has a price, which is what is held for it.")
    written = insert(Price).values(model=model.id, credits=hold or 0, allowance=hold)
    await tx.execute(
        written.on_conflict_do_update(
            index_elements=["model"], set_={"allowance": hold, "updated_at": func.now()}
        )
    )
    before = None if row is None else row.allowance
    await recording.record(
        tx, "model.allowed", model.id, before={"hold": before}, after={"hold": hold}
    )
    return model.id
