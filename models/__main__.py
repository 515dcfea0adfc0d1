"""The operator's commands: `python -m models COMMAND`, listed by `--help`."""

import os
import signal
import sys

# Process 1 has no default action: told to stop while it loads what follows, it would go on. Not by an
# exception: Python drops those in a finalizer, and a class that is being made changes them.
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))

import asyncio
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from models import ids, jobs, settings
from models.accounts import caps, idempotency, naming, projects
from models.audit_log import actors
from models.coordination import aside
from models.errors import DarkroomError, InvalidRequest, NotFound
from models.jobs.attempts import evidence
from models.jobs.view import Presenter
from models.money import audit
from models.operating import commands as plane
from models.operating import stops
from models.platform import jsonable
from models.platform.db import Database, migrate, premises
from models.platform.vault import Vault
from models.provider import aliases, pauses
from models.provider.aliases import Alias
from models.settings import Settings
from models.states import SCOPES
from models.webhooks import resealing
from models.webhooks.signing import new_secret

_ROWS = 1_000  # of a listing
_MOST = 1_000_000  # jobs in flight: more than any limit of a provider


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what it says, 1 on a difference, 2 on a refusal in one line."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.command == "new-key":
            print(projects.new_key())
            return 0
        if asked.command == "migrate":
            print(_migrate())
            return 0
        return asyncio.run(_run(asked, settings.load()))
    except DarkroomError as refused:
        print(f"darkroom: {refused}", file=sys.stderr)
        return 2


async def _run(asked: Namespace, loaded: Settings) -> int:
    # No doorbell: what these commands change is found within a tick.
    database = Database(loaded, ring=lambda _topic, _key: None, pool=1, name="darkroom-command")
    try:
        actors.enter(plane.actor())
        if plane.knows(asked.command):
            said, well = await plane.run(database, asked, loaded)
            print(said)
            return 0 if well else 1
        if asked.command in _SAID:
            print(await _SAID[asked.command](database, asked, loaded))
            return 0
        if asked.command == "reseal":
            return await _reseal(database, loaded)
        if asked.command == "audit":
            return await _audit(database)
        async with database.transaction() as tx:
            await migrate.demand_schema(tx)
            if asked.command == "create-project":
                vault = Vault.of(loaded)
                await premises.demand_secret(tx, vault)  # what is sealed now, every role must open
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


def _migrate() -> str:
    """Bring the database to this code's revision; return what to print of it."""
    at, own = migrate.migrate(settings.database_url()), migrate.head()
    if at == own:
        return f"database at revision {at}"
    return f"database at revision {at}, newer than this code's {own}: nothing to do"


async def _audit(database: Database) -> int:
    """Print each difference between the books; 1 when there is one."""
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
    differences = await audit.audit(database)
    for each in differences:
        print(f"{each.about}: {each.message}")
    return 1 if differences else 0


async def _reseal(database: Database, loaded: Settings) -> int:
    """Seal every webhook secret under the present DARKROOM_SECRET; 1 when one does not open."""
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
    done = await resealing.reseal(database, Vault.of(loaded))
    for each in done.shut:
        print(f"{each}: its secret opens with neither DARKROOM_SECRET nor DARKROOM_SECRET_OLD")
    print(f"resealed {done.changed} of {done.seen} projects and endpoints")
    return 1 if done.shut else 0


async def _resolve(database: Database, asked: Namespace, loaded: Settings) -> str:
    """Resolve a charge by hand; returns what was done, once it is committed."""
    charged = asked.verdict == "charged"
    if asked.credits is not None and (asked.credits < 0 or not charged):
        raise InvalidRequest("--credits goes with `charged`, and is not negative.")
    presenter = Presenter.of(loaded, Vault.of(loaded))
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
        attempt, job = await jobs.resolve_by_hand(
            tx, presenter, asked.attempt, charged=charged, credits_=asked.credits
        )
    cost = "not charged" if attempt.credits is None else f"{attempt.credits} credits charged"
    return (
        f"{asked.attempt} is {attempt.charge}: {cost}; its job is {job.status}, with {job.charged} "
        f"credits charged and {job.held} held"
    )


async def _pause(database: Database, asked: Namespace, _: Settings) -> str:
    """Pause or resume what is named; returns all that is paused then."""
    act = stops.pause if asked.command == "pause" else stops.resume
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
        if asked.project is not None:
            await act(tx, "project", asked.project)
        elif asked.model is not None:
            await act(tx, "model", asked.model)
        else:
            await act(tx, "all")
        left = await pauses.described(tx)
    lines = [f"paused since {jsonable.time(since)}: {what}" for what, since in left]
    if not lines:
        return "nothing is paused"
    return "\n".join([*lines, "calls that are under way end, no other begins; webhooks go on"])


async def _limit(database: Database, asked: Namespace, _: Settings) -> str:
    """Set what is given of a project's caps; returns both."""
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
        project_id = await projects.find(tx, asked.project)
        own = await caps.read(tx, project_id)
        if asked.in_flight is not None:
            own = replace(own, in_flight=asked.in_flight or None)
        if asked.per_key is not None:
            own = replace(own, per_key=asked.per_key)
        await caps.write(tx, project_id, own)
    most = "no cap of its own on" if own.in_flight is None else f"at most {own.in_flight}"
    return f"{asked.project}: {most} jobs in flight, at most {own.per_key} per concurrency_key"


async def _require_key(database: Database, asked: Namespace, _: Settings) -> str:
    """Set whether a project's requests must have an Idempotency-Key; return what to print."""
    required = asked.required == "yes"
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
        project_id = await projects.find(tx, asked.project)
        await idempotency.require(tx, project_id, required=required)
    must = "must have" if required else "may come without"
    return f"{asked.project}: what creates a job {must} an Idempotency-Key"


async def _alias(database: Database, asked: Namespace, _: Settings) -> str:
    """Set a project's other name for a model, or remove it; returns all names it has then."""
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
        project_id = await projects.find(tx, asked.project)
        names = await naming.read(tx, project_id)
        if asked.command == "unalias" and names.pop(asked.name, None) is None:
            raise NotFound(f"{asked.project} has no alias {asked.name!r}.")
        if asked.command == "alias":
            alias = Alias(asked.model, asked.response_format, scale=asked.scale)
            aliases.judge(asked.name, alias)
            names[asked.name] = alias.dump()
        await naming.write(tx, project_id, names)
    own = ((name, aliases.find(name, names)) for name in sorted(names))
    lines = [
        f"{name}: {each.model} as {each.response_format}"
        + (", small sizes scaled up" if each.scale else "")
        for name, each in own
        if each is not None
    ]
    return "\n".join(lines) or f"{asked.project} has no aliases of its own"


async def _set_aside(database: Database, _: Namespace, __: Settings) -> str:
    """List the rows that a duty failed at and passes by for now."""
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
        rows = await aside.listing(tx, _ROWS)
    lines = [
        f"{each.duty} {each.subject}: failed {each.failures} times since {jsonable.time(each.since)}, "
        f"again at {jsonable.time(each.again_at)}: {each.reason}"
        for each in rows
    ]
    return "\n".join(lines) or "nothing is set aside"


async def _evidence(database: Database, asked: Namespace, _: Settings) -> str:
    """Show what an attempt was answered with; a line for people goes to stderr, the body to stdout."""
    async with database.transaction() as tx:
        await migrate.demand_schema(tx)
        found, at = await evidence.read(tx, asked.attempt)
    kind = found.content_type or "no content type"
    told = f"{len(found.body)} of {found.length} bytes, {kind}, kept at {jsonable.time(at)}"
    print(told, file=sys.stderr)
    return found.body.decode(errors="backslashreplace")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m models", description="Darkroom, for its operator.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    plane.add(commands)
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
    commands.add_parser(
        "set-aside", help="list the rows that a duty failed at, and passes by for now"
    )
    commands.add_parser(
        "reseal", help="seal every secret under DARKROOM_SECRET; the old one can go"
    )
    hand = commands.add_parser("resolve", help="say what an attempt of unknown charge cost")
    hand.add_argument("attempt", help="its client_request_id, as the job's JSON shows it: job_…:1")
    hand.add_argument("verdict", choices=("charged", "free"))
    hand.add_argument("--credits", type=int, help="what was charged; without it, what is held")
    answer = commands.add_parser("evidence", help="show a paid answer that had no image in it")
    answer.add_argument("attempt", help="its client_request_id: job_…:1")
    for name, does in (("pause", "let no call begin"), ("resume", "let calls begin again")):
        stop = commands.add_parser(name, help=f"{does}: any, a model's, or a project's")
        which = stop.add_mutually_exclusive_group()
        which.add_argument("--model", help="the model's id; a paid image is kept all the same")
        which.add_argument("--project", help="the project's name or id; likewise")
    limit = commands.add_parser("limit", help="set or show how many jobs a project has in flight")
    limit.add_argument("project", help="the project's name or id")
    limit.add_argument("--in-flight", type=_count_or_none, metavar="N|none", help="of all its jobs")
    limit.add_argument("--per-key", type=_count, metavar="N", help="of those of a concurrency_key")
    keyed = commands.add_parser(
        "require-key", help="require an Idempotency-Key of all that creates a project's jobs"
    )
    keyed.add_argument("project", help="the project's name or id")
    keyed.add_argument("required", choices=("yes", "no"))
    alias = commands.add_parser("alias", help="give a model another name, for a project's clients")
    alias.add_argument("project", help="the project's name or id")
    alias.add_argument("name", help="what its clients call it, such as gpt-image-1")
    alias.add_argument("model", help="the model's id")
    alias.add_argument("--response-format", choices=("url", "b64_json"), default="url")
    alias.add_argument("--no-scale", dest="scale", action="store_false", help="refuse small sizes")
    named = commands.add_parser("unalias", help="take such a name away again")
    named.add_argument("project", help="the project's name or id")
    named.add_argument("name")
    return parser


def _count_or_none(word: str) -> int:
    """Read a count; 0 stands for `none`."""
    return 0 if word == "none" else _count(word)


def _count(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= _MOST:
        raise ArgumentTypeError(f"{word!r} is not a number from 1 to {_MOST:,}")
    return int(word)


_SAID: dict[str, Callable[[Database, Namespace, Settings], Awaitable[str]]] = {
    "resolve": _resolve, "pause": _pause, "resume": _pause, "limit": _limit,
    "require-key": _require_key,
    "set-aside": _set_aside, "alias": _alias, "unalias": _alias,
    "evidence": _evidence,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
