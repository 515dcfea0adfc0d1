"""From a body to something that is done to many jobs."""

from hashlib import sha256

from api.contract.actions import ActionBody
from api.dependencies.state import State
from api.submitting import submission
from models.accounts.projects import Caller
from models.errors import TooMany, Unavailable
from models.jobs import actions, fingerprint
from models.jobs.actions import Preview, Wish
from models.schema import Action


async def preview(here: State, caller: Caller, body: ActionBody) -> Preview:
    """Count what an action would touch. Raises as `Reports.open`."""
    demand(caller, body)
    async with here.reports.open(caller.project_id) as tx:
        return await actions.preview(tx, caller.project_id, body.action, body.filter.filter)


async def take(
    here: State, caller: Caller, body: ActionBody, key: str | None
) -> tuple[Action, bool]:
    """Accept an action; return it, and whether an earlier request had made it.

    Raises `ScopeMissing`, `InvalidRequest`, `KeyReuse`, `LimitReached`.
    """
    demand(caller, body)
    if body.action == "retry":
        submission.demand_key(caller, key)
    wish = Wish(body.action, body.filter.filter, _name(caller, body, key))
    matched = await _count(here, caller, body)
    most = here.settings.actions_max
    async with here.turns.open(caller.project_id) as tx:
        return await actions.request(tx, caller, wish, matched=matched, most=most)


def demand(caller: Caller, body: ActionBody) -> None:
    """Raise `ScopeMissing` where an action needs more than the route: what single deliveries need too."""
    if body.action == "redeliver":
        caller.demand("webhooks")


async def _count(here: State, caller: Caller, body: ActionBody) -> int | None:
    """Count; None where it takes too long: who cancels in a hurry waits for no figure."""
    try:
        return (await preview(here, caller, body)).count
    except (Unavailable, TooMany):
        return None


def _name(caller: Caller, body: ActionBody, key: str | None) -> tuple[bytes, bytes] | None:
    if key is None:
        return None
    asked = body.model_dump(mode="json", exclude_unset=True)
    return sha256(caller.project_id.bytes + key.encode()).digest(), fingerprint(asked)
