"""Databases for one test after the other: emptied, which costs a tenth of making them anew."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg import Connection, sql

TEMPLATE = "darkroom_template"

# A database is made anew after so many tests: their dead rows stay in it until then.
_LENDINGS = 40

# Whoever is still connected when a test is over; waited for, because they may hold locks.
_END_OTHERS: LiteralString = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

# What a test may have changed beside rows: then nobody else gets the database.
_SHAPE: LiteralString = """
    SELECT (SELECT row(count(*), sum(xmin::text::bigint))::text FROM pg_class WHERE oid >= 16384),
           (SELECT row(count(*), sum(xmin::text::bigint))::text FROM pg_attribute WHERE attrelid >= 16384),
           (SELECT row(count(*), sum(xmin::text::bigint))::text FROM pg_constraint WHERE oid >= 16384),
           (SELECT row(count(*), sum(xmin::text::bigint))::text FROM pg_attrdef WHERE oid >= 16384),
           (SELECT row(count(*), sum(xmin::text::bigint))::text FROM pg_trigger WHERE oid >= 16384),
           (SELECT row(count(*), sum(xmin::text::bigint))::text FROM pg_proc WHERE oid >= 16384),
           (SELECT count(*)::text FROM pg_statistic WHERE starelid >= 16384),
           (SELECT count(*)::text FROM pg_db_role_setting)
"""


# Waits for whoever is writing, as a TRUNCATE would, which makes files and costs twenty times as much.
# As a replica, because then neither foreign keys nor triggers are asked.
EMPTY: LiteralString = """
    DO $$ DECLARE each text; BEGIN
        EXECUTE (SELECT 'LOCK TABLE ' || string_agg(format('%I', tablename), ', ')
                        || ' IN SHARE ROW EXCLUSIVE MODE'
                   FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version');
        SET LOCAL session_replication_role = replica;
        FOR each IN SELECT tablename FROM pg_tables
                     WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
            EXECUTE format('DELETE FROM %I', each);
        END LOOP;
        PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
           FROM pg_sequences;
    END $$
"""


@dataclass
class Databases:
    """The databases of one PostgreSQL; `server` is its URL, with the template in it.

    One test at a time gets the one that is kept, as if it were new: no rows, sequences at their
    start, nobody connected but who looks after it. One that somebody changed in another way is
    thrown away.
    """

    server: str
    _name: str = field(default_factory=lambda: f"test_{secrets.token_hex(6)}")
    _lendings: int = 0
    _shape: tuple[str, ...] = ()
    _keeper: Connection | None = None  # one for all tests: it has planned what empties the tables

    @property
    def kept(self) -> str:
        """The URL of the database that is lent again and again."""
        return self._url(self._name)

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Lend the kept database to one test; returns its URL."""
        if self._lendings == 0:
            self._make(self._name)
            self._keeper = psycopg.connect(self.kept, autocommit=True)
            self._shape = _shape(self._keeper)
        self._lendings += 1
        try:
            yield self.kept
        finally:
            if self._lendings >= _LENDINGS or not self._restore():
                self.close()

    @contextmanager
    def own(self) -> Iterator[str]:
        """Return a new database, for whoever keeps it beside the one that is lent; returns its URL."""
        name = f"own_{secrets.token_hex(6)}"
        self._make(name)
        try:
            yield self._url(name)
        finally:
            self._drop(name)

    def close(self) -> None:
        """Drop the kept database; the next test's is made anew, under the same name."""
        if self._keeper is not None:
            self._keeper.close()
            self._drop(self._name)
            self._keeper, self._lendings = None, 0

    def _make(self, name: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                    sql.Identifier(name), sql.Identifier(TEMPLATE)
                )
            )

    def _drop(self, name: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _restore(self) -> bool:
        """Bring the kept database back to how it was made; False when that takes a new one."""
        assert self._keeper is not None
        try:
            self._keeper.execute(_END_OTHERS)
            if _shape(self._keeper) != self._shape:
                return False
            self._keeper.execute(EMPTY)
        except psycopg.OperationalError:  # some tests end every connection there is
            return False
        return True

    def _url(self, name: str) -> str:
        return f"{self.server.rpartition('/')[0]}/{name}"


def _shape(connection: Connection) -> tuple[str, ...]:
    (found,) = connection.execute(_SHAPE).fetchall()
    return tuple(found)
