"""What an error of Postgres means: it is away, it is busy, or the statement is at fault.

The SQLSTATE decides, never the class: psycopg calls 54000 (too many parameters) an `OperationalError` and
25006 (read-only: the primary is another server now) an `InternalError`. Whoever waits for Postgres to
come back must wait for the second and never for the first.
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

import re

import psycopg

from models.errors import Unavailable

# The connection leads nowhere any more: 08 broken, or pgbouncer's own words; 25006 a standby, or a
# session that must not write; 25P03 and 25P04 our own stalled transaction; 57P a server that stops,
# starts, or lost its database.
_ASTRAY = re.compile(r"08...|25006|25P0[34]|57P..")
# The server cannot serve anybody: 53000-53300 no disk, memory or connections, 58000 and 58030 its disk.
# Not 53400 (a limit set for one statement), nor 54 (a statement that is too large for any server).
_SHORT = re.compile(r"53[0-3]..|580[03]0")
# The server is there, and others were in the way: a conflict, a deadlock, a lock, or the time limit.
_BUSY = re.compile(r"4000[13]|40P01|55P03|57014")


class Busy(Unavailable):
    """The database is there, but could not finish this in time; nothing was lost, try again."""


def is_refusal(error: BaseException | None) -> bool:
    """Return whether it was Postgres, or its driver, that refused a statement, whatever the reason."""
    return isinstance(error, psycopg.Error)


def leads_astray(error: BaseException | None) -> bool:
    """Return whether the connection that raised this must be dropped, and those beside it."""
    return bool(_ASTRAY.fullmatch(_state(error)))


def absence(error: BaseException, *, lost: bool) -> Unavailable | None:
    """Return how to refuse after an error of Postgres; None where the statement itself is at fault.

    `lost` says that there is no connection: it never came to be, or broke. It decides for errors without
    a SQLSTATE, which are the driver's own, such as one of a statement with more than 65,535 parameters.
    """
    state = _state(error)
    if _BUSY.fullmatch(state):
        return Busy("Postgres is busy and did not finish this in time. Try again in a moment.")
    if isinstance(error, TimeoutError) or lost or _SHORT.fullmatch(state) or leads_astray(error):
        return Unavailable("Postgres did not answer; nothing was lost. Try again in a moment.")
    return None


def _state(error: BaseException | None) -> str:
    return (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
