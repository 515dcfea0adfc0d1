"""The operator plane as commands: what they are called, and what each prints."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable

from models import ids
from models.accounts import api_keys, operators, projects
from models.audit_log import reading, verifying
from models.audit_log.verifying import End
from models.commands.command import NAME, REASON, Commands, Said, add, opened, words
from models.errors import InvalidRequest, NotFound
from models.operating import attention, charges, state, stops, tenants
from models.platform import jsonable
from models.platform.db import Database, Transaction
from models.platform.vault import Vault
from models.settings import Settings

Told = tuple[str, bool]  # what is printed, and whether all is well
Do = Callable[[Transaction, Namespace, Settings], Awaitable[Told]]
_ROWS = 1_000  # of a listing
_HEX = 64  # digits of a hash


def add_to(commands: Commands) -> None:
    """Add these commands."""
    key = _add(
        commands, "create-operator-key", _create_key, "create an operator's key; prints it, once"
    )
    key.add_argument("--label", type=words(NAME), default="operator", help="a name to know it by")
    key.add_argument("--key", help="register this key instead of a fresh one")
    listed = _add(commands, "projects", _projects, "list the projects, newest first")
    listed.add_argument("--deleted", action="store_true", help="those that were deleted, too")
    _add_about_projects(commands)
    keys = _add(commands, "keys", _keys, "list the API keys of a project, or of all")
    keys.add_argument("project", nargs="?", help="the project's name or id")
    revoke = _add(commands, "revoke-key", _revoke, "revoke an API key, an operator's too")
    revoke.add_argument("key_id", metavar="key", help="its id, or its beginning: dr_live_…")
    _add(commands, "state", _state, "show how the installation stands, as JSON")
    _add(commands, "attention", _attention, "list what needs a person; exits 1 when anything does")
    _add(commands, "charges", _charges, "list the attempts whose charge is unknown")
    probe = _add(commands, "probe", _probe, "let one job try a closed gate now")
    probe.add_argument("gate", help="wallet_empty, provider_key or provider_down")
    log = add(commands, "audit-log", _audit_log, "show who changed what, or verify that log")
    log.add_argument("does", choices=("list", "verify"))
    log.add_argument("--project", help="of one project: its name or id")
    log.add_argument("--expect", metavar="END", help="an end that `verify` told before")


def _add_about_projects(commands: Commands) -> None:
    for name, do, does in (
        ("rename-project", _rename, "give a project another name"),
        ("suspend", _suspend, "accept no job of a project, and make no call for it"),
        ("reinstate", _reinstate, "end a project's suspension"),
        ("delete-project", _delete, "delete a project with its jobs, images, keys and endpoints"),
    ):
        parser = _add(commands, name, do, does)
        parser.add_argument("project", help="the project's name or id")
        if name == "rename-project":
            parser.add_argument("name", type=words(NAME))
        if name == "suspend":
            parser.add_argument(
                "--reason", type=words(REASON), required=True, help="why, for people"
            )
        if name == "delete-project":
            parser.add_argument("--yes", action="store_true", help="it cannot be undone")


def _add(commands: Commands, name: str, do: Do, help_: str) -> ArgumentParser:
    """Add a command that is one transaction; it tells what is printed, and whether all is well."""

    async def run(database: Database, asked: Namespace, settings: Settings) -> Said:
        async with opened(database) as tx:
            text, well = await do(tx, asked, settings)
        return Said(text, 0 if well else 1)

    return add(commands, name, run, help_)


async def _create_key(tx: Transaction, asked: Namespace, _: Settings) -> Told:
    key = asked.key or api_keys.new_key()
    await operators.create_key(tx, asked.label, key)
    return key, True


async def _projects(tx: Transaction, asked: Namespace, _: Settings) -> Told:
    rows, _more = await tenants.page(tx, None, _ROWS, deleted=asked.deleted)
    lines = [f"{each['id']}  {each['status']:9}  {each['name']}" for each in rows]
    return "\n".join(lines) or "there is no project", True


async def _rename(tx: Transaction, asked: Namespace, _: Settings) -> Told:
    project_id = await projects.find(tx, asked.project)
    await tenants.change(tx, project_id, tenants.Changes(name=asked.name))
    return f"{ids.text(ids.PROJECT, project_id)} is {asked.name}", True


async def _suspend(tx: Transaction, asked: Namespace, _: Settings) -> Told:
    await tenants.suspend(tx, await projects.find(tx, asked.project), asked.reason)
    return f"{asked.project} accepts no job, and no call begins for it; reading goes on", True


async def _reinstate(tx: Transaction, asked: Namespace, _: Settings) -> Told:
    await tenants.reinstate(tx, await projects.find(tx, asked.project))
    return f"{asked.project} goes on", True


async def _delete(tx: Transaction, asked: Namespace, settings: Settings) -> Told:
    project_id = await projects.find(tx, asked.project)
    if not asked.yes:
        raise InvalidRequest(
            f"This deletes {asked.project} with its jobs, images, keys and endpoints, for good: "
            "say --yes. The ledger stays."
        )
    await tenants.remove(tx, Vault.of(settings), project_id)
    named = ids.text(ids.PROJECT, project_id)
    return f"{named}: its keys have ended; the dispatchers delete the rest", True


async def _keys(tx: Transaction, asked: Namespace, _: Settings) -> Told:
    of = None if asked.project is None else await projects.find(tx, asked.project)
    rows, _more = await operators.keys(tx, of, None, _ROWS)
    lines = [
        f"{ids.text(ids.KEY, key.id)}  {api_keys.hint(key)}  {project or 'operators'}  {key.name}"
        + (f"  revoked {jsonable.time(key.revoked_at)}" if key.revoked_at else "")
        for key, project in rows
    ]
    return "\n".join(lines) or "there is no key", True


async def _revoke(tx: Transaction, asked: Namespace, _: Settings) -> Told:
    key_id = await operators.find(tx, asked.key_id)
    if key_id is None:
        raise NotFound(f"There is no API key {asked.key_id!r}; `keys` lists them.")
    key = await api_keys.revoke_key(tx, key_id)
    return f"{api_keys.hint(key)} is revoked; within 5 seconds no process accepts it", True


async def _state(tx: Transaction, _: Namespace, settings: Settings) -> Told:
    return json.dumps(await state.read(tx, settings), indent=2), True


async def _attention(tx: Transaction, _: Namespace, settings: Settings) -> Told:
    found = attention.needs(await state.read(tx, settings))
    lines = [f"{each['code']}: {each['message']} ({each['runbook']})" for each in found]
    return "\n".join(lines) or "nothing needs a person", not found


async def _charges(tx: Transaction, _: Namespace, __: Settings) -> Told:
    rows, _more = await charges.page(tx, None, _ROWS)
    lines = [f"{each['attempt']}  sent {each['sent_at']}  {each['outcome']}" for each in rows]
    return "\n".join(lines) or "no charge is unknown", True


async def _probe(tx: Transaction, asked: Namespace, _: Settings) -> Told:
    await stops.probe(tx, asked.gate)
    return f"the next job tries the gate {asked.gate}; if its call is refused it closes again", True


async def _audit_log(database: Database, asked: Namespace, _: Settings) -> Said:
    async with opened(database) as tx:
        if asked.does == "list":
            of = None if asked.project is None else await projects.find(tx, asked.project)
            rows, _more = await reading.page(tx, reading.Wanted(project_id=of), _ROWS)
            return Said(
                "\n".join(json.dumps(reading.show(each)) for each in rows) or "nothing is logged"
            )
    verdict = await verifying.verify(database, _end(asked.expect))
    if verdict.wrong:
        return Said("\n".join(verdict.wrong), 1)
    return Said(f"{verdict.lines} lines, whole and in order; the end is {verdict.end}")


def _end(written: str | None) -> End | None:
    """Read the end of a chain as `verify` prints it."""
    if written is None:
        return None
    seq, _, digest = written.partition(":")
    if not seq.isdecimal() or len(digest) != _HEX:
        raise InvalidRequest(f"{written!r} is no end: `audit-log verify` prints one, as 12:9f8e….")
    return End(int(seq), digest)
