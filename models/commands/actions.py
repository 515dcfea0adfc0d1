"""Actions: one thing done to every job of a project that a filter leaves; counted first, and called off."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import get_args
from uuid import UUID

from models import ids
from models.accounts import callers, projects
from models.commands.command import Commands, Said, add, opened
from models.errors import InvalidRequest, NotFound
from models.jobs import Filter, actions
from models.money import dollars
from models.platform.db import Database
from models.platform.jsonable import time
from models.schema import Action
from models.settings import Settings
from models.states import TERMINAL, ActionKind, Charge, WaitingReason

_ROWS = 1_000  # of a listing
_STATUSES = ("queued", "running", *TERMINAL)
_WORDS = ("model", "tag", "customer", "idempotency_key", "custom_id", "search")
_DONE: Mapping[str, str] = {
    "cancel": "canceled",
    "retry": "tried again",
    "redeliver": "told of again",
    "erase": "erased",
}


def add_to(commands: Commands) -> None:
    """Add these commands."""
    act = add(
        commands, "act", _act, "cancel, retry, redeliver or erase the jobs that a filter leaves"
    )
    act.add_argument("project", help="the project's name or id")
    act.add_argument("action", choices=get_args(ActionKind))
    act.add_argument("--yes", action="store_true", help="do it; without this they are only counted")
    _add_filter(act)
    listed = add(commands, "actions", _list, "list a project's actions, newest first")
    listed.add_argument("project", help="the project's name or id")
    off = add(commands, "cancel-action", _cancel, "call an action off; what it has done stays")
    off.add_argument("id", help="the action's: act_…")


def _add_filter(act: ArgumentParser) -> None:
    """Add the filters of `GET /v1/jobs`."""
    for name in _WORDS:
        act.add_argument(f"--{name.replace('_', '-')}")
    act.add_argument("--status", action="append", choices=_STATUSES, help="repeat it for several")
    act.add_argument("--charge-state", choices=get_args(Charge))
    act.add_argument("--waiting-reason", choices=get_args(WaitingReason), metavar="REASON")
    act.add_argument("--batch", type=_batch, help="the id of a batch, or of a group")
    act.add_argument("--created-after", type=_moment, metavar="TIME", help="2026-11-22T10:00:00Z")
    act.add_argument("--created-before", type=_moment, metavar="TIME", help="likewise")
    act.add_argument("--metadata", action="append", type=_pair, metavar="KEY=VALUE")


async def _act(database: Database, asked: Namespace, settings: Settings) -> Said:
    """Count what is meant, or do it; returns what is to be printed."""
    filter_ = _filter(asked)
    if filter_ == Filter():
        raise InvalidRequest(
            "The filter names nothing, and so every job there is; say which are meant, such as "
            "--status queued or --created-before 2026-11-22T10:00:00Z."
        )
    async with opened(database) as tx:
        project_id = await projects.find(tx, asked.project)
        found = await actions.preview(tx, project_id, asked.action, filter_)
        if not asked.yes:
            told = f"{found.count:,} jobs would be {_DONE[asked.action]}{_cost(asked, found)}"
            return Said(f"{told}; --yes does it")
        wish = actions.Wish(asked.action, filter_)
        caller, most = callers.command(project_id), settings.actions_max
        action, _ = await actions.request(tx, caller, wish, matched=found.count, most=most)
        named = ids.text(ids.ACTION, action.id)
    return Said(
        f"{named}: the dispatchers see to {found.count:,} jobs; `actions` shows how far they are"
    )


async def _list(database: Database, asked: Namespace, _: Settings) -> Said:
    """Return a line for each action."""
    async with opened(database) as tx:
        project_id = await projects.find(tx, asked.project)
        rows, _more = await actions.listing(tx, project_id, None, _ROWS)
        return Said("\n".join(map(_line, rows)) or "there is no action")


async def _cancel(database: Database, asked: Namespace, _: Settings) -> Said:
    """Call an action off; returns how far it has come."""
    action_id = ids.parse(ids.ACTION, asked.id)
    if action_id is None:
        raise NotFound(f"{asked.id!r} is no id of an action: act_ and 26 letters or digits.")
    async with opened(database) as tx:
        return Said(_line(await actions.cancel(tx, None, action_id)))


def _line(action: Action) -> str:
    """Return an action as a listing shows it."""
    whole = "many" if action.matched is None else f"{action.matched:,}"
    counts = (
        f"{action.done:,} of {whole} done, {action.skipped:,} skipped, {action.failed:,} failed"
    )
    named = ids.text(ids.ACTION, action.id)
    return f"{named}  {time(action.created_at)}  {action.kind}  {action.status}  {counts}"


def _cost(asked: Namespace, found: actions.Preview) -> str:
    """Return what it would hold, or give back; nothing where it costs nothing."""
    if not found.credits:
        return ""
    moves = "given back" if asked.action == "cancel" else "held"
    return f", {found.credits:,} credits (${dollars.usd(found.credits)}) {moves}"


def _filter(asked: Namespace) -> Filter:
    words = {name: getattr(asked, name) for name in _WORDS}
    return Filter(
        statuses=tuple(asked.status or ()),
        charge_state=asked.charge_state,
        waiting_reason=asked.waiting_reason,
        batch=asked.batch,
        created_after=asked.created_after,
        created_before=asked.created_before,
        metadata=dict(asked.metadata or ()),
        **words,
    )


def _batch(written: str) -> UUID:
    found = ids.batch(written)
    if found is None:
        raise ArgumentTypeError(f"{written!r} is no id of a batch or a group")
    return found


def _moment(written: str) -> datetime:
    with suppress(ValueError):
        found = datetime.fromisoformat(written)
        if found.tzinfo is not None:
            return found
    raise ArgumentTypeError(f"{written!r} is no time with a zone, such as 2026-11-22T10:00:00Z")


def _pair(written: str) -> tuple[str, str]:
    name, equals, value = written.partition("=")
    if not (name and equals):
        raise ArgumentTypeError(f"{written!r} is not KEY=VALUE")
    return name, value
