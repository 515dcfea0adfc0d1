"""The account's routes: the balance, the log of requests and the ledger, as published.

`GET /v2/billing`, `GET /v2/logs`, `GET /v2/billing/transactions`; each needs the key.
"""

import base64
import hashlib
import json
import re
from asyncio import get_running_loop
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from aiohttp import web
from multidict import MultiMapping

from deploy.simulator import answers, clock
from deploy.simulator.answers import wire
from deploy.simulator.config import usd
from deploy.simulator.world import WORLD, World, lying
from deploy.simulator.world.calls import Call, mark, new_request_id
from deploy.simulator.world.money import Entry

View = Callable[[web.Request, World, str], dict[str, object]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LOG_WINDOW = timedelta(days=92)
_MINUTE = 60.0
_FAULTS = {
    "401": "unauthorized",
    "403": "forbidden_other",
    "429": "legacy_rate_limit",
    "500": "partner_failure",
}
_MODELS_MAX = 50
_PAGE_MAX, _PAGE_DEFAULT = 100, 50
_TYPES = {
    "PAYMENT", "BONUS", "REFUND", "ADJUSTMENT", "MODEL_USAGE", "CREDITS_EXPIRED", "INIT",
}  # fmt: skip


class _BadQueryError(Exception):
    """A parameter is wrong; the message names it."""


class _TooManyError(Exception):
    """More requests than a minute allows."""


def routes() -> Sequence[web.RouteDef]:
    """List the account's routes."""
    return (
        web.get("/v2/billing", _route(_billing)),
        web.get("/v2/logs", _route(_logs)),
        web.get("/v2/billing/transactions", _route(_transactions)),
    )


def _route(view: View) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        world = request.app[WORLD]
        world.account_requests += 1
        fault = world.config.account_fault
        if fault and fault not in lying.PAGES:
            return _fault(request, fault)
        key = world.admits(request.headers.get("Authorization"), retired=True)
        path = request.path
        try:
            if key is None:
                return wire.whole(answers.failure("unauthorized", new_request_id(), path=path))
            told = view(lying.asked(fault, request), world, key)
            return web.json_response(lying.shown(fault, told))
        except _BadQueryError as bad:
            return wire.whole(answers.problem(400, str(bad), new_request_id(), path=path))
        except _TooManyError:
            return wire.whole(answers.failure("legacy_rate_limit", new_request_id(), path=path))

    return handle


def _fault(request: web.Request, fault: str) -> web.Response:
    if fault == "reset":
        return wire.reset(request)
    name = _FAULTS[fault]
    return wire.whole(answers.failure(name, new_request_id(), path=request.path))


def _billing(_request: web.Request, world: World, _key: str) -> dict[str, object]:
    # Holds of calls in flight are not there to be spent, so they are not shown as balance.
    return {"current_balance": usd(world.wallet.available), "currency": "USD"}


def _logs(request: web.Request, world: World, key: str) -> dict[str, object]:
    _count(world)
    query = request.query
    skew = timedelta(seconds=world.config.skew)
    start, end = (moment - skew for moment in _window(query))
    models, statuses = set(query.getall("model", ())), set(query.getall("status", ()))
    if len(models) > _MODELS_MAX or statuses - {"succeeded", "failed"}:
        raise _BadQueryError("model: at most 50 values; status: succeeded or failed")
    if not key.startswith(query.get("key_prefix", "")):
        raise _BadQueryError("key_prefix: another key's requests need a management key")
    limit = _whole(query, "limit", _PAGE_DEFAULT, 1, _PAGE_MAX)
    offset = _whole(query, "offset", 0, 0, None)
    ripe = clock.now() - timedelta(seconds=world.config.log_lag)
    asker, calls = mark(key), world.calls.all
    first = bisect_left(calls, start, key=lambda call: call.received_at)
    last = bisect_left(calls, end, key=lambda call: call.received_at)
    rows = [
        call
        for call in reversed(calls[first:last])
        if call.logged
        and call.key == asker
        and call.settled_at is not None
        and call.settled_at <= ripe
        and (not models or call.model in models or call.model.rpartition("/")[2] in models)
        and (not statuses or _status(call) in statuses)
    ]
    page = rows[offset : offset + limit]
    return {
        "data": [lying.row(call, _row(call, skew), world.config.price) for call in page],
        "pagination": {
            "limit": limit,
            "offset": offset,
            "total": len(rows),
            "has_more": offset + len(page) < len(rows),
        },
    }


def _transactions(request: web.Request, world: World, _key: str) -> dict[str, object]:
    query = request.query
    if unknown := set(query) - {"from", "to", "direction", "type", "limit", "cursor"}:
        raise _BadQueryError(f"unknown parameter: {', '.join(sorted(unknown))}")
    after, before = (_moment(query, name, offset_needed=True) for name in ("from", "to"))
    if after and before and before <= after:
        raise _BadQueryError("to: must be later than from")
    direction, kind = query.get("direction"), query.get("type")
    if direction not in {None, "TOPUP", "CHARGE"} or kind not in {None, *_TYPES}:
        raise _BadQueryError("direction or type: not one of the published values")
    limit = _whole(query, "limit", _PAGE_DEFAULT, 1, _PAGE_MAX)
    below = _read_cursor(query["cursor"]) if "cursor" in query else None
    ripe = clock.now() - timedelta(seconds=world.config.charge_lag)
    skew = timedelta(seconds=world.config.skew)
    rows: list[Entry] = []
    for entry in reversed(world.wallet.entries):
        fits = (
            (below is None or entry.number < below)
            and (entry.type != "MODEL_USAGE" or entry.created_at <= ripe)
            and (after is None or entry.created_at + skew >= after)
            and (before is None or entry.created_at + skew < before)
            and direction in {None, entry.direction}
            and kind in {None, entry.type}
        )
        if fits:
            rows.append(entry)
        if len(rows) > limit:
            break
    page, more = rows[:limit], len(rows) > limit
    return {
        "data": [
            {**entry.view(), "created_at": clock.text(entry.created_at + skew)} for entry in page
        ],
        "pagination": {"next_cursor": _cursor(page[-1]) if more else None, "has_more": more},
    }


def _count(world: World) -> None:
    now = get_running_loop().time()
    while world.log_requests and world.log_requests[0] <= now - _MINUTE:
        world.log_requests.popleft()
    if len(world.log_requests) >= world.config.log_requests:
        raise _TooManyError
    world.log_requests.append(now)


def _window(query: MultiMapping[str]) -> tuple[datetime, datetime]:
    period = query.get("period")
    start, end = _moment(query, "start"), _moment(query, "end")
    if period is not None and start is None and end is None:
        written = re.fullmatch(r"([1-9][0-9]{0,3})([hd])", period)
        if written:
            unit = timedelta(hours=1) if written[2] == "h" else timedelta(days=1)
            end = clock.now()
            start = end - int(written[1]) * unit
    elif period is not None:
        raise _BadQueryError("either period or both start and end, never both")
    if start is None or end is None:
        raise _BadQueryError("either period (24h, 7d) or both start and end")
    if end < start or end - start > _LOG_WINDOW:
        raise _BadQueryError("end: not earlier than start, and at most 92 days later")
    return start, end


def _moment(query: MultiMapping[str], name: str, *, offset_needed: bool = False) -> datetime | None:
    if name not in query:
        return None
    try:
        return clock.read(query[name], offset_needed=offset_needed)
    except ValueError:
        raise _BadQueryError(f"{name}: not a moment in ISO 8601") from None


def _whole(query: MultiMapping[str], name: str, default: int, least: int, most: int | None) -> int:
    written = query.get(name, str(default))
    number = int(written) if written.isdecimal() else -1
    if number < least or (most is not None and number > most):
        raise _BadQueryError(f"{name}: not in its range")
    return number


def _row(call: Call, skew: timedelta) -> dict[str, object]:
    return {
        "created": clock.text(call.received_at + skew),
        "status": _status(call),
        "origin": "api",
        "model": call.model or "unknown",
        "cost": {"usd": usd(call.charged), "credits": call.charged},
        "tokens": {"input": 0, "output": 0, "total": 0},
        "request_id": call.request_id,
        "inference_id": call.inference_id,
        "client_request_id": call.client_request_id,
    }


def _status(call: Call) -> str:
    return "succeeded" if call.charged else "failed"


def _cursor(entry: Entry) -> str:
    inside = json.dumps({"v": 1, "c": clock.text(entry.created_at), "n": entry.number})
    seal = hashlib.sha256(inside.encode()).hexdigest()[:8]
    return base64.urlsafe_b64encode(f"{inside}{seal}".encode()).decode().rstrip("=")


def _read_cursor(written: str) -> int:
    try:
        plain = base64.urlsafe_b64decode(written + "=" * (-len(written) % 4)).decode()
        inside, seal = plain[:-8], plain[-8:]
        number = int(json.loads(inside)["n"])
    except (ValueError, KeyError, TypeError):
        raise _BadQueryError("cursor: not one of ours") from None
    again = base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")
    if again != written or hashlib.sha256(inside.encode()).hexdigest()[:8] != seal:
        raise _BadQueryError("cursor: not one of ours")
    return number
