"""Reads our balance at the provider every minute, and whenever a gate is closed."""

from decimal import ROUND_FLOOR

import structlog

from models.money import wallet
from worker.dispatcher.account.accounting import AccountReader, reserve_request
from worker.provider import AccountUnavailable
from worker.provider.credits import PER_USD

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def run(reader: AccountReader) -> bool:
    """Read the balance once; always False."""
    await read(reader)
    return False


async def read(reader: AccountReader) -> int | None:
    """Read the balance, remember it, and tell when its state changes; returns the credits.

    None when the provider does not say, or another dispatcher is at it.
    """
    settings = reader.dispatcher.settings
    if not await reserve_request(reader, "wallet"):
        return None
    try:
        balance = await reader.provider.account.balance()
    except AccountUnavailable as failed:
        log.warning("wallet.not_read", reason=str(failed))
        return None
    credits_ = int((balance * PER_USD).to_integral_value(ROUND_FLOOR))
    async with reader.dispatcher.database.transaction() as tx:
        seen = await wallet.note(
            tx, credits_, low=settings.wallet_low, operator=settings.operator_project
        )
    write = log.warning if seen.changed else log.info
    write(
        "wallet.changed" if seen.changed else "wallet.read",
        state=seen.state,
        credits=seen.credits,
        last_hour_credits=seen.last_hour,
        seconds_left=seen.seconds_left,
    )
    return credits_
