"""Opens the gates that the provider closed: an empty wallet, a key that was refused, answers gone wrong.

Nothing fails while a gate is closed; jobs keep their place, and go on by themselves in order. For wallet
and key two things open it. First the account's own word: it answers our key, and has what one image costs.
Then a probe: one job is let through, and only if its call is not refused do the others follow. A key that
may read the balance and not generate costs one refused call per look, and those looks become rare. A
provider that is down is asked nothing else: its gate is probed after a while, and less and less often.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from models.coordination import duties
from models.money import prices
from models.platform.db import Transaction
from models.provider import breakers, gates, probes
from models.states import WaitingReason
from worker.dispatcher.account import wallet
from worker.dispatcher.account.accounting import AccountReader

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What the call of a probe must come to: the outcomes that open a gate, and those that close it."""

    proofs: tuple[str, ...]
    refusals: tuple[str, ...]


# A refused input proves that the key is good, but is refused before the money is looked at.
_TRIALS: dict[WaitingReason, _Trial] = {
    "wallet_empty": _Trial(("image", "unusable"), ("parked",)),
    "provider_key": _Trial(("image", "refused", "unusable"), ("parked",)),
    "provider_down": _Trial(breakers.PROPER, ("try_later", "unknown", "unusable")),
}


async def run(reader: AccountReader) -> bool:
    """Judge the probes, and look whether what closed a gate is over; always False."""
    database, tried = reader.dispatcher.database, list[WaitingReason]()
    if await gates.are_open(database.direct):
        return False
    async with database.transaction() as tx:
        if not await duties.claim(tx, "park"):
            return False
        await _judge(tx)
        shut = await gates.untried(tx)
        closed = [reason for reason in _TRIALS if reason in shut]
        after = reader.dispatcher.settings.gate_probe
        if await probes.half_open(tx, "provider_down", shortest=after):
            tried.append("provider_down")
        # What one project has been told, the account may never confirm or deny.
        await probes.half_open(tx, "wallet_empty", shortest=after, projects=True)
    of_account = [reason for reason in closed if reason != "provider_down"]
    if of_account:
        tried += await _ask_account(reader, of_account)
    if closed:
        log.info("gates.checked", gates=closed, half_open=tried)
    return False


async def _judge(tx: Transaction) -> None:
    for gate in await probes.half_opened(tx):
        trial = next((each for reason, each in _TRIALS.items() if reason == gate.reason), None)
        if trial is None:
            continue
        async with probes.alone(tx, gate.id):
            await probes.judge(tx, gate, trial.proofs, trial.refusals)


async def _ask_account(
    reader: AccountReader, closed: Sequence[WaitingReason]
) -> list[WaitingReason]:
    """Half-open the gates that the account gives reason to; returns which."""
    tried: list[WaitingReason] = []
    credits_ = await wallet.read(reader)
    if credits_ is None:
        log.info("gates.stay_closed", gates=closed)
        return tried
    async with reader.dispatcher.database.transaction() as tx:
        price = await prices.dearest(tx)
        # The account has answered our key, so the key is worth a try in any case.
        for reason in closed:
            worth_it = reason == "provider_key" or credits_ >= price
            if worth_it and await gates.open_projects(tx, reason):
                log.info("gates.opened", gates=[reason], of="projects")
            if worth_it and await probes.half_open(tx, reason):
                tried.append(reason)
    return tried
