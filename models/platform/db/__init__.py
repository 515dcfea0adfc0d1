"""Postgres: `transaction()`, which commits, and the driver's own statements, which are their own commit.

`database` has the connections, `transaction` what is open, `direct` the driver without SQLAlchemy,
`statements` what is compiled for it once and for all. `migrate` sees to the schema, `premises` to what a
role must find before it works.
Promises: nothing else commits, rings follow the commit, and an error is told apart: Postgres is away, it is
busy, or the statement is at fault. Knows no table.
"""

from models.platform.db.base import Base
from models.platform.db.connecting import SESSION, conninfo, open_engine
from models.platform.db.database import Database
from models.platform.db.transaction import Transaction

__all__ = [
    "SESSION",
    "Base",
    "Database",
    "Transaction",
    "absences",
    "conninfo",
    "direct",
    "failures",
    "migrate",
    "open_engine",
    "premises",
    "statements",
]
