"""The operator's commands: `python -m models COMMAND`, listed by `--help`."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from models import audit, ids, jobs, migrate, projects, settings
from models.db import Database
from models.errors import DarkroomError, InvalidRequest
from models.settings import Settings
from models.signing import new_secret
from models.states import SCOPES
from models.vault import Vault
from models.views import Lens


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
    # No doorbell: what these commands change is found within a tick.
    database = Database(loaded, ring=lambda _topic, _key: None, pool=1)
    try:
        if asked.command == "resolve":
            print(await _resolve(database, asked, loaded))
            return 0
        async with database.transaction() as tx:
            await migrate.demand_schema(tx)
            if asked.command == "audit":
                differences = await audit.audit(tx)
                for each in differences:
                    print(f"{each.about}: {each.message}")
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


async def _resolve(database: Database, asked: Namespace, loaded: Settings) -> str:
    """Resolve a charge by hand; gives what was done, once it is committed."""
    charged = asked.verdict == "charged"
    if asked.credits is not None and (asked.credits < 0 or not charged):
        raise InvalidRequest("--credits goes with `charged`, and is not negative.")
    lens = Lens(loaded.public_url, Vault.of(loaded))
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
        attempt, job = await jobs.resolve_by_hand(
            tx, lens, asked.attempt, charged=charged, credits_=asked.credits
        )
    cost = "not charged" if attempt.credits is None else f"{attempt.credits} credits charged"
    return (
        f"{asked.attempt} is {attempt.charge}: {cost}; its job is {job.status}, with {job.charged} "
        f"credits charged and {job.held} held"
    )


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
    hand = commands.add_parser("resolve", help="say what an attempt of unknown charge cost")
    hand.add_argument("attempt", help="its client_request_id, as the job's JSON shows it: job_…:1")
    hand.add_argument("verdict", choices=("charged", "free"))
    hand.add_argument("--credits", type=int, help="what was charged; without it, what is held")
    return parser


if __name__ == "__main__":
    sys.exit(main())
