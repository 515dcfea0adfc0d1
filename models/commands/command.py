"""What a command is: words on a command line, and what is to be printed when it is done."""

from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeAlias

from models.platform.db import Database, Transaction, migrate
from models.settings import Settings

Commands: TypeAlias = "_SubParsersAction[ArgumentParser]"


class Said(NamedTuple):
    """What is printed, the exit code, and a line for people beside it, on stderr."""

    text: str
    code: int = 0
    aside: str = ""


Run = Callable[[Database, Namespace, Settings], Awaitable[Said]]


def add(commands: Commands, name: str, run: Run, help_: str) -> ArgumentParser:
    """Add a command that needs the database; returns its parser, for its arguments."""
    parser = commands.add_parser(name, help=help_)
    parser.set_defaults(run=run)
    return parser


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[Transaction]:
    """Open a transaction on a database that has this code's schema; raise `SchemaBehind` for another."""
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
        yield tx
