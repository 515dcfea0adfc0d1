"""The operator's command: `python -m models migrate | create-project | create-key | new-key | audit`."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from models import audit, ids, migrate, projects, settings
from models.db import Database
from models.errors import DarkroomError
from models.settings import Settings
from models.signing import new_secret
from models.states import SCOPES
from models.vault import Vault


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what it says, 1 on a difference, 2 on a refusal in one line."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.command == "new-key":
            print(projects.new_key())
            return 0
        loaded = settings.load()
        if asked.command == "migrate":
            print(f"database at revision {migrate.migrate(loaded)}")
            return 0
        return asyncio.run(_run(asked, loaded))
    except DarkroomError as refused:
        print(f"darkroom: {refused}", file=sys.stderr)
        return 2


async def _run(asked: Namespace, loaded: Settings) -> int:
    # No doorbell: these commands change nothing that anybody waits for.
    database = Database(loaded, ring=lambda _topic, _key: None, pool=1)
    try:
        async with database.transaction() as tx:
            await migrate.demand_schema(tx)
            if asked.command == "audit":
                differences = await audit.audit(tx)
                for each in differences:
                    print(f"{each.job}: {each.message}")
                return 1 if differences else 0
            if asked.command == "create-project":
                vault = Vault.of(loaded)
                project_id = await projects.create(tx, vault, asked.name, new_secret())
                print(ids.text(ids.PROJECT, project_id))
                return 0
            project_id = await projects.find(tx, asked.project)
            key = asked.key or projects.new_key()
            await projects.create_key(tx, project_id, asked.label, tuple(asked.scope), key)
        print(key)
        return 0
    finally:
        await database.close()


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m models", description="Darkroom, for its operator.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("migrate", help="bring the database to this code's revision")
    project = commands.add_parser("create-project", help="create a project; prints its id")
    project.add_argument("name")
    key = commands.add_parser("create-key", help="create an API key; prints it, once")
    key.add_argument("project", help="the project's name or id")
    key.add_argument("--scope", action="append", required=True, choices=SCOPES)
    key.add_argument("--label", default="cli", help="a name to know it by")
    key.add_argument("--key", help="register this key instead of a fresh one")
    commands.add_parser("new-key", help="print a fresh API key that is registered nowhere")
    commands.add_parser("audit", help="compare ledger, sums and attempts; exits 1 on a difference")
    return parser


if __name__ == "__main__":
    sys.exit(main())
