"""Opens the gates that the provider closed: an empty wallet, a key that was refused.

Nothing fails while a gate is closed; jobs keep their place, and go on by themselves in order. What
opens it is the provider's own word: a balance that pays for a call again, asked for with our key.
"""

import structlog

from models import catalog, duties
from worker.dispatcher.accounting import Books, reserve_request
from worker.provider import AccountUnavailable
from worker.provider.credits import PER_USD

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def turn(books: Books) -> bool:
    """Look whether what closed a gate is over; always False, for the next look is in a while."""
    async with books.desk.database.transaction() as tx:
        closed = set(await duties.closed_gates(tx)) & {"wallet_empty", "provider_key"}
    if not closed or not await reserve_request(books, "wallet"):
        return False
    try:
        balance = await books.provider.account.balance()
    except AccountUnavailable as failed:
        log.warning("gates.stay_closed", gates=sorted(closed), reason=str(failed))
        return False
    dearest = max(model.price for model in catalog.models())
    async with books.desk.database.transaction() as tx:
        # The provider answered our key, so the key is good again.
        if "provider_key" in closed:
            await duties.open_gate(tx, "provider_key")
        if "wallet_empty" in closed and balance * PER_USD >= dearest:
            await duties.open_gate(tx, "wallet_empty")
    log.info("gates.looked_at", gates=sorted(closed), balance_usd=float(balance))
    return False
