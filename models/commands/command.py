"""What a command is: words on a command line, and what is to be printed when it is done."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, _SubParsersAction
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeAlias

from models.platform.db import Database, Transaction, migrate
from models.settings import Settings

NAME, REASON = 128, 500  # characters at most, as over the API

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


def words(longest: int) -> Callable[[str], str]:
    """Return a type of arguments that people read: as the API takes them, never empty."""

    def judged(written: str) -> str:
        if not 0 < len(written) <= longest:
            raise ArgumentTypeError(f"give 1 to {longest} characters; these are {len(written)}")
        if any("\ud800" <= letter <= "\udfff" for letter in written):
            raise ArgumentTypeError("it is not text in UTF-8")
        return written

    return judged


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[Transaction]:
    """Open a transaction on a database that has this code's schema; raise `SchemaBehind` for another."""
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
        yield tx
