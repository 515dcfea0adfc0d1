"""The operator's commands: `python -m models COMMAND`, listed by `--help`."""

import os
import signal
import sys

# Process 1 has no default action: told to stop while it loads what follows, it would go on. Not by an
# exception: Python drops those in a finalizer, and a class that is being made changes them.
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))

import asyncio
from argparse import Namespace
from collections.abc import Sequence

from models import settings
from models.audit_log import actors
from models.commands import parsing
from models.commands.command import Said
from models.errors import DarkroomError
from models.platform.db import Database, premises
from models.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what it says, 1 on a difference, 2 on a refusal in one line."""
    given = sys.argv[1:] if arguments is None else arguments
    asked = parsing.parser(*given[:1]).parse_args(given)
    try:
        if "prints" in asked:
            print(asked.prints(asked))
            return 0
        return asyncio.run(_run(asked, settings.load()))
    except DarkroomError as refused:
        print(f"darkroom: {premises.explain(refused)}", file=sys.stderr)
        return 2


async def _run(asked: Namespace, loaded: Settings) -> int:
    # No doorbell: what these commands change is found within a tick.
    database = Database(loaded, ring=lambda _topic, _key: None, pool=1, name="darkroom-command")
    try:
        actors.enter(parsing.actor())
        said: Said = await asked.run(database, asked, loaded)
    finally:
        await database.close()
    if said.aside:
        print(said.aside, file=sys.stderr)
    if said.text:
        print(said.text)
    return said.code


if __name__ == "__main__":
    sys.exit(main())
