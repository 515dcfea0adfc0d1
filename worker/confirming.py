"""What the provider says of our key or our wallet in its answer to one call, before all calls are stopped.

A 401 is about the key. A 403 may be about one request, of which the edge or a policy has an opinion, and
so may words about credits. So an account route is asked, after the answer came: what it confirms closes the
gate for everybody; what it denies is the job's own affair; and while it says nothing, the job's or its
project's.
"""

from asyncio import get_running_loop, sleep
from decimal import ROUND_FLOOR

import structlog

from models.coordination import duties
from models.errors import Unavailable
from models.money import prices
from worker.provider import AccountRefused, AccountUnavailable
from worker.provider.credits import PER_USD
from worker.provider.outcomes import Outcome, Parked, Refused, TryLater
from worker.runtime.context import AccountSays, Context

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Of the 200 requests a minute that the provider answers; and a worker does not ask more often than this.
_SHARE, _PAUSE = 60, 1.0


async def confirm(context: Context, outcome: Outcome) -> Outcome:
    """Return what is to be believed of an outcome that may be about every call, or about this one."""
    if not isinstance(outcome, Parked) or outcome.certain:
        return outcome
    account = await _asked(context)
    log.info("account.asked", about=outcome.reason, account=account.key, credits=account.credits)
    if outcome.reason == "provider_key":
        return _about_key(outcome, account)
    return await _about_wallet(context, outcome, account)


def _about_key(outcome: Parked, account: AccountSays) -> Outcome:
    match account.key:
        case "refused":
            return outcome
        case "accepted":
            return Refused(code="invalid_input", message=outcome.said, receipt=outcome.receipt)
        case "silent":
            return TryLater(reason="forbidden", message=outcome.said, receipt=outcome.receipt)


async def _about_wallet(context: Context, outcome: Parked, account: AccountSays) -> Outcome:
    if account.key != "accepted":
        return Parked(
            reason="wallet_empty",
            message=outcome.message,
            for_all=False,
            receipt=outcome.receipt,
        )
    try:
        async with context.database.transaction() as tx:
            price = await prices.dearest(tx)
    except Unavailable:
        return outcome
    if account.credits < price:
        return outcome
    message = (
        f"{outcome.message} Its account has {account.credits:,} credits, so it is tried again."
    )
    return TryLater(reason="wallet_doubted", message=message, receipt=outcome.receipt)


async def _asked(context: Context) -> AccountSays:
    """Ask the account, or share what another call has learned since this one was answered."""
    clock = get_running_loop().time
    answered = clock()
    async with context.asking:
        asked_at, known = context.account
        if known is not None and asked_at >= answered:
            return known
        await sleep(max(asked_at + _PAUSE - clock(), 0))
        asked_at = clock()
        known = await _ask(context)
        context.account = asked_at, known
        return known


async def _ask(context: Context) -> AccountSays:
    try:
        async with context.database.transaction() as tx:
            if not await duties.spend_request(tx, _SHARE):
                return AccountSays("silent")
        usd = await context.provider.account.balance()
    except AccountRefused:
        return AccountSays("refused")
    except (AccountUnavailable, Unavailable):
        return AccountSays("silent")
    return AccountSays("accepted", int((usd * PER_USD).to_integral_value(ROUND_FLOOR)))
