"""Tries that delivered, written down with what takes their places, in one statement.

Between two statements a worker's loop may be busy for tens of milliseconds, and what they have locked, the
rates of destinations, would be locked meanwhile. All that a statement counts is as it was before it began,
so what it writes down itself is taken off.
"""

from collections.abc import Sequence
from typing import Unpack

from sqlalchemy import text

from models.platform.db.direct import Direct
from models.platform.db.statements import prepared
from models.platform.vault import Vault
from models.webhooks.deliveries.plain import Tried, Written, delivering, told_of, written
from models.webhooks.deliveries.taking import ClaimedDelivery, claimed
from models.webhooks.deliveries.waking import DUE, LIMITS
from models.webhooks.deliveries.waking_here import ASKED, CLAIMS, Limits, taking


async def hand_on(
    direct: Direct,
    vault: Vault,
    tries: Sequence[Tried],
    follows: Sequence[bool],
    **limits: Unpack[Limits],
) -> tuple[Written, list[ClaimedDelivery]]:
    """Write down tries that delivered, as `record_plain`; what is due behind them is taken, as `wake_here`.

    `follows` tells of each try whether another may take its place, in its own destination. Free slots are
    those of the worker beside the ones that are given back here.
    """
    told = {"follows": list(follows), **limits, **LIMITS}
    rows = await direct.write_all(_HAND_ON, told_of(tries) | told)
    had = [claimed(row, vault) for row in rows if row["id"] is not None]
    return written(direct, tries, rows), had


_PLACES = """
          (SELECT project_id, lane, count(*) AS wanted
             FROM moved WHERE follows GROUP BY project_id, lane) places"""

_TAKING = taking(
    ASKED.format(of="places", asked=_PLACES),
    free=":free + (SELECT count(*) FROM moved)",
    but="AND id <> ALL (ARRAY(SELECT id FROM moved))",
)

# No more are taken than have ended, so each of them has a row to stand in.
_HAND_ON = prepared(
    text(f"""
    WITH {delivering(told=", CAST(:follows AS boolean[])", names=", follows")}, {_TAKING},
    claims AS MATERIALIZED (
        SELECT *, row_number() OVER () AS nth FROM ({CLAIMS}) claims
    )
    SELECT ended.id AS ended, ended.number, {DUE} AS due, claims.*
      FROM (SELECT id, number, row_number() OVER () AS nth FROM moved) ended LEFT JOIN claims USING (nth)
""")  # noqa: S608 - constants of ours
)
