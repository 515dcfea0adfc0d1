"""Every table and what it refers to, drawn: `python -m models.schema.diagram > docs/tables.md`.

One diagram for each wing, in Mermaid, which code hosts and editors draw: keys and references, and what
each table is. A reference across wings names the other wing's table, without its columns.
"""

import sys
from collections.abc import Iterable

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

from models.platform.db import Base
from models.schema import __all__ as names

_HEAD = """# Tables

Drawn from the schema by `python -m models.schema.diagram > docs/tables.md`; a check compares them. What
must hold, the schema holds: its CHECKs and indexes stand in `models/schema/`.
"""
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def draw() -> str:
    """Return the page, as Markdown."""
    wings: dict[str, list[type[Base]]] = {}
    for mapper in sorted(Base.registry.mappers, key=lambda each: each.class_.__name__):
        wing = mapper.class_.__module__.rpartition(".")[2]
        if mapper.class_.__name__ in names:
            wings.setdefault(wing, []).append(mapper.class_)
    return "\n".join([_HEAD, *(_wing(wing, wings[wing]) for wing in sorted(wings))])


def _wing(wing: str, entities: Iterable[type[Base]]) -> str:
    tables = [Base.metadata.tables[each.__tablename__] for each in entities]
    told = [f"| `{each.__tablename__}` | {_summary(each)} |" for each in entities]
    return "\n".join(
        [
            *(f"## {wing.capitalize()}", "", "| table | holds |", "|---|---|", *told, ""),
            *("```mermaid", "erDiagram"),
            *(line for table in tables for line in _references(table)),
            *(line for table in tables for line in _columns(table)),
            *("```", ""),
        ]
    )


def _summary(entity: type[Base]) -> str:
    return (entity.__doc__ or "").strip().partition("\n")[0]


def _references(table: Table) -> list[str]:
    many = {
        (each.column.table.name, each.parent.name, bool(each.parent.nullable))
        for each in table.foreign_keys
    }
    return [
        f"    {target} {'|o' if optional else '||'}--o{{ {table.name} : {column}"
        for target, column, optional in sorted(many)
    ]


def _columns(table: Table) -> list[str]:
    lines = [f"        {_type(each)} {each.name}{_key(each)}" for each in table.columns]
    return [f"    {table.name} {{", *lines, "    }"]


def _type(column: Column[object]) -> str:
    written = column.type.compile(dialect=_DIALECT).lower()
    return written.replace(" with time zone", "tz").replace(" ", "_").replace("[]", "_array")


def _key(column: Column[object]) -> str:
    kinds = [*(["PK"] if column.primary_key else []), *(["FK"] if column.foreign_keys else [])]
    return f" {', '.join(kinds)}" if kinds else ""


if __name__ == "__main__":
    sys.stdout.write(draw())
