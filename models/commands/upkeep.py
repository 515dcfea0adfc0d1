"""What stands in the database: the audit, secrets sealed anew, rows set aside."""

from argparse import Namespace

from models.commands.command import Commands, Said, add, opened
from models.coordination import aside
from models.money import audit
from models.platform import jsonable
from models.platform.db import Database
from models.platform.vault import Vault
from models.settings import Settings
from models.webhooks import resealing

_ROWS = 1_000  # of a listing


def add_to(commands: Commands) -> None:
    """Add these commands."""
    add(commands, "audit", _audit, "compare ledger, sums and attempts; exits 1 on a difference")
    add(
        commands,
        "set-aside",
        _set_aside,
        "list the rows that a duty failed at, and passes by for now",
    )
    add(commands, "reseal", _reseal, "seal every secret under DARKROOM_SECRET; the old one can go")


async def _audit(database: Database, _: Namespace, __: Settings) -> Said:
    """Print each difference between the books; returns 1 when there is one."""
    async with opened(database):
        pass
    differences = await audit.audit(database)
    lines = [f"{each.about}: {each.message}" for each in differences]
    return Said("\n".join(lines), 1 if differences else 0)


async def _reseal(database: Database, _: Namespace, loaded: Settings) -> Said:
    """Seal every webhook secret under the present DARKROOM_SECRET; 1 when one does not open."""
    async with opened(database):
        pass
    done = await resealing.reseal(database, Vault.of(loaded))
    shut = [
        f"{each}: its secret opens with neither DARKROOM_SECRET nor DARKROOM_SECRET_OLD"
        for each in done.shut
    ]
    sealed = f"resealed {done.changed} of {done.seen} projects and endpoints"
    return Said("\n".join([*shut, sealed]), 1 if done.shut else 0)


async def _set_aside(database: Database, _: Namespace, __: Settings) -> Said:
    """List the rows that a duty failed at and passes by for now."""
    async with opened(database) as tx:
        rows = await aside.listing(tx, _ROWS)
    lines = [
        f"{each.duty} {each.subject}: failed {each.failures} times since {jsonable.time(each.since)}, "
        f"again at {jsonable.time(each.again_at)}: {each.reason}"
        for each in rows
    ]
    return Said("\n".join(lines) or "nothing is set aside")
