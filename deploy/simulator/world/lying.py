"""How a call's lies move money, and write its row of the log; and how pages of the account are odd."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from aiohttp import web

from deploy.simulator import clock
from deploy.simulator.config import usd
from deploy.simulator.world.calls import Call
from deploy.simulator.world.money import CHARGE, TOPUP
from deploy.simulator.world.world import World

PAGES = frozenset({"loop", "ahead"})
_LATER = "2150-01-01T00:00:00.000Z"
_AHEAD = {
    "created": _LATER, "status": "succeeded", "cost": {"usd": 0.5, "credits": 1_000_000},
    "created_at": _LATER, "direction": "CHARGE", "type": "MODEL_USAGE", "model": None,
    "amount": {"usd": 0.5, "credits": 1_000_000}, "reference_id": "inf-ahead",
}  # fmt: skip


def asked(fault: str, request: web.Request) -> web.Request:
    """Return what is asked for: in a loop, the first page again and again."""
    if fault != "loop":
        return request
    return request.clone(rel_url=request.rel_url.without_query_params("cursor", "offset"))


def shown(fault: str, honest: dict[str, object]) -> dict[str, object]:
    """Return a page as a fault of all pages has it."""
    rows, pagination = honest.get("data"), honest.get("pagination")
    if fault == "ahead" and isinstance(rows, list):
        return {**honest, "data": [_AHEAD, *rows]}
    if fault == "loop" and isinstance(pagination, dict):
        return {**honest, "pagination": {**pagination, "has_more": True, "next_cursor": "again"}}
    return honest


def move(world: World, call: Call, price: int) -> None:
    """Move the money that lies move, beside the charge of a call that was charged."""
    lies, model, id_ = call.lies, call.model, call.inference_id
    if "twice" in lies:
        world.wallet.correct(CHARGE, "MODEL_USAGE", price, model, id_)
    if "adjusted" in lies:
        world.wallet.correct(CHARGE, "ADJUSTMENT", int(lies["adjusted"]), model, id_)
    if "refunded" in lies:
        book = (TOPUP, "REFUND", price, model, id_)
        asyncio.get_running_loop().call_later(lies["refunded"], world.wallet.correct, *book)


def row(call: Call, honest: Mapping[str, object], price: int) -> dict[str, object]:
    """Write a call's row of the log as its lies have it."""
    lies, changed = call.lies, dict(honest)
    settled = call.settled_at or call.received_at
    first = timedelta(seconds=lies.get("failed_first", 0))
    if "logged_failed" in lies or clock.now() - settled < first:
        changed |= {"status": "failed", "cost": {"usd": 0.0, "credits": 0}}
    if "failed_with_cost" in lies:
        changed |= {"status": "failed", "cost": {"usd": usd(price), "credits": price}}
    if "no_client_id" in lies:
        changed["client_request_id"] = None
    if "odd_row" in lies:
        changed["status"] = "settling"
    return changed
