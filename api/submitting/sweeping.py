"""From a body to something that is done to many jobs."""

from hashlib import sha256

from api.contract.requests.actions import ActionBody
from api.contract.requests.erasures import ErasureBody
from api.dependencies.state import State
from api.submitting import naming
from models.accounts.callers import Caller
from models.errors import TooMany, Unavailable
from models.jobs import actions, erasures, fingerprint
from models.jobs.actions import Preview
from models.jobs.erasures import Wish
from models.schema import Action, Erasure


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
        naming.demand_key(caller, key)
    wish = actions.Wish(body.action, body.filter.filter, _name(caller, body, key))
    matched = await _count(here, caller, body)
    most = here.settings.actions_max
    async with here.turns.open(caller.project_id) as tx:
        return await actions.request(tx, caller, wish, matched=matched, most=most)


def demand(caller: Caller, body: ActionBody) -> None:
    """Raise `ScopeMissing` where an action needs more than the route: what single deliveries need too."""
    if body.action == "redeliver":
        caller.demand("webhooks")


async def erase(
    here: State, caller: Caller, body: ErasureBody, key: str | None
) -> tuple[Erasure, bool]:
    """Accept an erasure; return it, and whether an earlier request had made it.

    Of the request's name only what our secret makes of it is kept: both may name who is to be forgotten.
    Raises `NotFound`, `KeyReuse`, `LimitReached`.
    """
    name = None
    if key is not None:
        asked = fingerprint(body.model_dump(mode="json", exclude_unset=True))
        keyed = (caller.project_id.bytes + key.encode(), asked)
        name = here.vault.mac(keyed[0]).encode(), here.vault.mac(keyed[1]).encode()
    most = here.settings.erasures_max
    async with here.turns.open(caller.project_id) as tx:
        return await erasures.request(tx, here.vault, caller, body.wish(name), most=most)


def digests(here: State, caller: Caller, customer: str | None) -> list[str] | None:
    """Return by what the erasures of a customer are known; None where nobody asks for one."""
    if customer is None:
        return None
    return erasures.digests(here.vault, caller.project_id, Wish(customer=customer).about)


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
