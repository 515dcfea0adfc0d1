"""Statements for the driver itself: compiled by SQLAlchemy once and for all, and who may run them."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from psycopg import sql
from psycopg.rows import DictRow
from sqlalchemy import (
    JSON,
    BindParameter,
    ClauseElement,
    ColumnElement,
    SQLColumnExpression,
    Subquery,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy import inspect as mapped
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.types import TypeEngine

Statement = bytes  # as psycopg takes what is written nowhere but in this code


class LongStatement(bytes):
    """One that psycopg would parse anew each time; `numbered` is the same with `$1`, for `names`."""

    numbered: bytes
    names: tuple[str, ...]


Values = Mapping[str, object]
Row = DictRow  # of an answer, by the columns' names
Entity = TypeVar("Entity")
Value = TypeVar("Value")

_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped

# In a FROM, where a statement begins to lock: all of its transaction may be lost with a crash of Postgres,
# for it is done again then, and waits for no disk (PostgreSQL's "asynchronous commit", decision 63).
ASYNCHRONOUSLY = "(SELECT set_config('synchronous_commit', 'off', true)) AS asynchronously"

_UNREAD = re.compile(r" AS anon_\d+|-- .*")  # labels and comments
_CACHED = 4096  # bytes of a statement, up to which psycopg remembers its parameters (_queries.py)
_PARAMETER = re.compile(rb"%\((\w+)\)s|%%")


class Reader(Protocol):
    """What runs a SELECT of the driver's own: `Direct` itself, or a transaction of either kind."""

    async def read(self, statement: Statement, values: Values) -> list[DictRow]:
        """Run a SELECT and return its rows."""


class Writer(Reader, Protocol):
    """A transaction of either kind, for statements of the driver's own."""

    async def run(self, statement: Statement, values: Values) -> list[DictRow]:
        """Run one statement and return its rows, if it has any."""

    async def first(self, statement: Statement, values: Values) -> DictRow | None:
        """Run one statement and return its first row, if it has any."""

    def ring(self, topic: str, key: str = "") -> None:
        """Ring this doorbell once the transaction has committed."""

    def tally(self, count: Callable[[], object]) -> None:
        """Count this once the transaction has committed. It must not raise."""


def given(name: str, like: ColumnElement[Value] | TypeEngine[Value]) -> BindParameter[Value]:
    """Return a parameter of a `prepared` statement, of this type or of a column's."""
    type_ = like.type if isinstance(like, ColumnElement) else like
    return bindparam(name, None, type_=type_)


def unindexed(state: SQLColumnExpression[str]) -> SQLColumnExpression[str]:
    """Return a column as no index has it, to ask about rows that are named: they are found by their names.

    An index of what is in flight looks as if it were empty, by statistics that are old, or that know a long
    history best; then all in it would be looked through for each row that is named. SQL that is written by
    hand says the same: `state || ''`.
    """
    return state.concat("")


def given_rows(types: Mapping[str, TypeEngine[Any]]) -> Subquery:
    """Return the rows, with columns of these types, that a statement is given as `rows` (`as_rows`).

    One JSON text takes the driver a fraction of the time of an array for each column. Their number is said
    as a limit: of a limit that is not known a planner expects ten rows, and of JSON a hundred, for which it
    would read all of a table that was empty when it looked.
    """
    rows = given("rows", JSON())
    columns = (column(name, type_) for name, type_ in types.items())
    told = func.json_to_recordset(rows).table_valued(*columns)
    each = told.render_derived("told", with_types=True)
    number = select(func.json_array_length(rows)).scalar_subquery()
    return select(*each.c).limit(number).subquery("asked")


def as_rows(rows: Sequence[Mapping[str, object]]) -> str:
    """Write what a statement with `given_rows` is given; a column that is left out is NULL.

    Raises `TypeError` for a value that neither JSON nor this module has a text for.
    """
    return _ROWS.encode(rows)


def prepared(written: ClauseElement) -> Statement:
    """Compile a statement of SQLAlchemy's once and for all: its constants in it, its parameters by name.

    What it is `given` are the parameters; psycopg binds them.
    """
    compiled = written.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    text = str(compiled)
    for name, value in (compiled.params or {}).items():
        if value is not None:
            text = text.replace(f"%({name})s", _literal(value))
    return written_out(" ".join(_UNREAD.sub("", text).split()))


def written_out(statement: str) -> Statement:
    """Return what is put together of `prepared` statements as one of them."""
    found = statement.encode()
    return found if len(found) <= _CACHED else numbered(found)


def numbered(statement: Statement) -> LongStatement:
    """Return a statement with numbers for its parameters, as Postgres takes them, and their names."""
    names: list[str] = []

    def number(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            return b"%"
        name = found[1].decode()
        if name not in names:
            names.append(name)
        return b"$%d" % (names.index(name) + 1)

    long = LongStatement(statement)
    long.numbered, long.names = _PARAMETER.sub(number, statement), tuple(names)
    return long


def attributes(entity: type[object]) -> list[ColumnElement[object]]:
    """List every column of an entity, by the name of its attribute, for a SELECT."""
    mapper = mapped(entity)
    return [mapper.columns[each.key].label(each.key) for each in mapper.column_attrs]


def listed(entity: type[object], of: str) -> str:
    """Write the same for SQL by hand, from a table or CTE of this name."""
    columns = mapped(entity).columns
    return ", ".join(f"{of}.{column.name} AS {key}" for key, column in columns.items())


def loaded(entity: type[Entity], row: Mapping[str, object]) -> Entity:
    """Return a row of `attributes` or `listed` as the entity; it belongs to no session."""
    made = entity()
    made.__dict__.update(row)
    return made


def taken(row: Row, prefix: str) -> Row:
    """Take the columns with this prefix out of a row; returns them without it."""
    names = [each for each in row if each.startswith(prefix)]
    return {each.removeprefix(prefix): row.pop(each) for each in names}


def _text(value: object) -> str:
    """Write what JSON does not have as Postgres reads it."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, timedelta):
        return f"{value // timedelta(microseconds=1)} microseconds"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"a statement is given a {type(value).__name__}, which no column takes as text")


_ROWS = json.JSONEncoder(default=_text, allow_nan=False)


def _literal(value: object) -> str:
    """Write a constant of the code; `%` is psycopg's own."""
    return sql.Literal(value).as_string().replace("%", "%%")
