"""The witness and the controls, below `/_simulator/`; tests and people use them without a key."""

import json
import math

from aiohttp import web

from deploy.simulator.config import CREDITS_PER_USD
from deploy.simulator.world import WORLD


async def state(request: web.Request) -> web.Response:
    """`GET /_simulator/`: how it is configured, and its sums; the key is not shown."""
    world = request.app[WORLD]
    config = world.config
    return web.json_response(
        {
            "simulator": "darkroom",
            "calls": len(world.calls.all),
            "in_flight": world.in_flight,
            "peak_in_flight": world.peak_in_flight,
            "balance": world.wallet.balance,
            "held": world.wallet.held,
            "config": {
                "latency": config.latency,
                "spread": config.spread,
                "rates": dict(config.rates),
                "limit": config.limit,
                "log_lag": config.log_lag,
                "charge_lag": config.charge_lag,
                "log_requests": config.log_requests,
                "price": config.price,
                "quoted_price": config.quoted_price,
                "account_fault": config.account_fault,
                "skew": config.skew,
                "pictures": config.pictures,
            },
        }
    )


async def calls(request: web.Request) -> web.Response:
    """`GET /_simulator/calls?after=NUMBER`: every call in its order, those in flight too."""
    after = request.query.get("after", "0")
    if not after.isdecimal():
        raise web.HTTPBadRequest(text="after: the number of a call")
    found = request.app[WORLD].calls.all[int(after) :]
    return web.json_response({"calls": [call.view() for call in found]})


async def ledger(request: web.Request) -> web.Response:
    """`GET /_simulator/ledger`: the sum, what is held, what was charged, and every entry."""
    wallet = request.app[WORLD].wallet
    usage = [entry for entry in wallet.entries if entry.type == "MODEL_USAGE"]
    return web.json_response(
        {
            "balance": wallet.balance,
            "held": wallet.held,
            "charged": sum(entry.credits for entry in usage),
            "charges": len(usage),
            "entries": [{"number": entry.number, **entry.view()} for entry in wallet.entries],
        }
    )


async def configure(request: web.Request) -> web.Response:
    """`PUT /_simulator/config`: change some settings at once, or none of them."""
    try:
        request.app[WORLD].change(_object(await request.read()))
    except ValueError as wrong:
        raise web.HTTPBadRequest(text=str(wrong)) from None
    return await state(request)


async def top_up(request: web.Request) -> web.Response:
    """`POST /_simulator/topup` with `{"usd": 10}`: money in; below zero takes it out."""
    try:
        amount = _object(await request.read()).get("usd")
    except ValueError as wrong:
        raise web.HTTPBadRequest(text=str(wrong)) from None
    if not isinstance(amount, int | float) or not math.isfinite(amount) or not amount:
        raise web.HTTPBadRequest(text="usd: how many dollars, not 0")
    entry = request.app[WORLD].wallet.move(round(amount * CREDITS_PER_USD))
    return web.json_response({"number": entry.number, **entry.view()}, status=201)


def _object(raw: bytes) -> dict[str, object]:
    body = json.loads(raw)
    if not isinstance(body, dict):
        raise ValueError("a JSON object is needed")  # noqa: TRY004  # one kind of refusal for a body
    return body
