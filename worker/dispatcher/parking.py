"""Opens the gates that the provider closed: an empty wallet, a key that was refused.

Nothing fails while a gate is closed; jobs keep their place, and go on by themselves in order. Two things
open it. First the account's own word: it answers our key, and has what one image costs. Then a probe:
one job is let through, and only if its call is not refused do the others follow. A key that may read the
balance and not generate costs one refused call per look, and those looks become rare.
"""

import structlog

from models import duties, gates, prices
from models.gates import Standing
from models.states import WaitingReason
from worker.dispatcher import wallet
from worker.dispatcher.accounting import Books

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# What a probe must come to. A refused input proves that the key is good, but is refused before the
# money is looked at.
_PROOFS: dict[WaitingReason, tuple[str, ...]] = {
    "wallet_empty": ("image",),
    "provider_key": ("image", "refused"),
}


async def turn(books: Books) -> bool:
    """Judge the probes, and look whether what closed a gate is over; always False."""
    standing: dict[WaitingReason, Standing] = {}
    async with books.desk.database.transaction() as tx:
        if not await duties.claim(tx, "park") or not await gates.closed(tx):
            return False
        for reason, proofs in _PROOFS.items():
            standing[reason] = await gates.judge(tx, reason, proofs)
    closed = [reason for reason, stands in standing.items() if stands == "closed"]
    if not closed:
        return False
    credits_ = await wallet.read(books)
    if credits_ is None:
        log.info("gates.stay_closed", gates=closed)
        return False
    tried: list[WaitingReason] = []
    async with books.desk.database.transaction() as tx:
        price = await prices.dearest(tx)
        for reason in closed:
            # The account has answered our key, so the key is worth a try in any case.
            worth_it = reason == "provider_key" or credits_ >= price
            if worth_it and await gates.half_open(tx, reason):
                tried.append(reason)
    log.info("gates.looked_at", gates=closed, half_open=tried, credits=credits_)
    return False
