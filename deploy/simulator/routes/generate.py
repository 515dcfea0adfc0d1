"""`POST /v1/images/generations`: receive, check, hold, wait, charge or roll back, answer.

The order of refusals: key, body, concurrency limit, balance. None of them takes a play of a script,
so `[sim: 500, ok]` means the same on a crowded server.
"""

import asyncio
import logging
from dataclasses import dataclass, replace

from aiohttp import web

from deploy.simulator import answers, checks, dialects, scenarios
from deploy.simulator.answers import Answer, shapes, wire
from deploy.simulator.dialects import Order
from deploy.simulator.scenarios import Play, lies
from deploy.simulator.scenarios.table import Delivery
from deploy.simulator.world import WORLD, World, calls, lying
from deploy.simulator.world.calls import Call

log = logging.getLogger("simulator")
_SUCCESSES = {
    *("image", "b64", "no_meta", "no_price", "tokens_used", "images_list", "not_json"),
    *shapes.ALL,
}


@dataclass(frozen=True)
class _Reply:
    answer: Answer
    delivery: Delivery = Delivery.WHOLE
    seconds: float = 0.0


async def generate(request: web.Request) -> web.StreamResponse:
    """Answer one generation, and be its witness."""
    world = request.app[WORLD]
    raw = await request.read()
    call = world.calls.receive(checks.client_request_id(request.headers))
    status = None
    try:
        admitted = _admit(world, call, request, raw)
        if isinstance(admitted, Answer):
            reply = _Reply(admitted)
        else:
            reply = await _play_with_place(world, call, admitted, request)
        answer = _signed(reply.answer, call)
        response, status = await wire.deliver(request, answer, reply.delivery, reply.seconds)
    finally:
        world.calls.answer(call, status)
        outcome = (call.scenario, status, call.charged)
        log.info("call %d %s: %s, %s, %d credits", call.number, call.client_request_id, *outcome)
    return response


def _admit(world: World, call: Call, request: web.Request, raw: bytes) -> Answer | Order:
    """Refuse for the key or the body, or return the order."""
    key = world.admits(request.headers.get("Authorization"))
    if key is None:
        call.scenario = "unauthorized"
        return answers.failure("unauthorized", call.request_id)
    call.key, call.logged = calls.mark(key), True
    try:
        order = checks.read_order(raw)
    except checks.RefusedError as refused:
        call.scenario = "invalid"
        return answers.problem(400, str(refused), call.request_id, data=refused.issues)
    except checks.TooFewPixelsError:
        call.scenario = "min_pixels"
        return answers.failure("min_pixels", call.request_id)
    call.model = order.model
    return order


async def _play_with_place(world: World, call: Call, order: Order, request: web.Request) -> _Reply:
    if not world.enter():
        call.scenario = "limit"
        return _Reply(answers.failure("legacy_rate_limit", call.request_id))
    try:
        return await _play(world, call, order, request)
    finally:
        world.leave()


async def _play(world: World, call: Call, order: Order, request: web.Request) -> _Reply:
    price = _price(world, order)
    if not world.wallet.hold(price):
        call.scenario = "wallet_empty"
        return _Reply(answers.failure("out_of_credits", call.request_id))
    charged = False
    try:
        play = _chosen(world, call, order, request)
        if play is None:
            text = "simulator: unknown scenario; the root page lists them"
            return _Reply(answers.problem(400, text, call.request_id))
        if not play.scenario.door:
            await asyncio.sleep(world.latency() if play.latency is None else play.latency)
        if play.charged:
            world.wallet.charge(price, order.model, call.inference_id)
            charged = True
            lying.move(world, call, price)
        world.calls.settle(call, price if charged else 0)
    finally:
        if not charged:
            world.wallet.roll_back(price)
    if play.scenario.name == "hang":
        await asyncio.sleep(play.number)
    answer = await _answer(world, call, order, play, request)
    return _Reply(answer, play.scenario.delivery, play.number)


def _chosen(world: World, call: Call, order: Order, request: web.Request) -> Play | None:
    """Choose the play and write the call down, before anything is waited for."""
    try:
        play = world.choose(call, request.headers.get("X-Simulator-Scenario"), order.prompt)
        call.scenario, call.logged = play.scenario.name, play.scenario.logged
        call.lies = play.lies
    except scenarios.UnknownScenarioError as unknown:
        log.warning("call %d: %s", call.number, unknown)
        call.scenario = "unknown_scenario"
        play = None
    world.calls.keep(call)
    return play


async def _answer(
    world: World, call: Call, order: Order, play: Play, request: web.Request
) -> Answer:
    """Make the answer that the scenario asks for; an image only where it shows one."""
    row = play.scenario
    if row.body not in _SUCCESSES:
        late = {"Retry-After": f"{play.number:g}"} if row.name == "429_retry_after" else {}
        return answers.failure(row.body, call.request_id, headers=late)
    if row.delivery in {Delivery.RESET, Delivery.FIN, Delivery.GARBAGE}:
        return answers.failure("partner_failure", call.request_id)  # never reaches the wire
    seed = order.seed if order.seed is not None else call.number
    size = (order.width, order.height)
    pictures = [
        world.images.make(order.prompt, seed + n, size, row.defect) for n in range(order.count)
    ]
    inline = order.b64 or row.body in {"b64", *shapes.OF_JPEG}
    jpeg = await world.images.paint(pictures[0]) if inline else None
    base = (world.config.public_url or f"http://{request.host}").rstrip("/")
    price = lies.told(play.lies, _price(world, order) if call.charged == 0 else call.charged)
    price = price if row.charged else 0
    body = "images" if row.body == "image" and order.listed == "images" else row.body
    urls = [base + each.path for each in pictures]
    return answers.success(body, urls, f"{order.width}x{order.height}", price, jpeg)


def _price(world: World, order: Order) -> int:
    tariff = world.config.tariffs.get(order.model)
    return dialects.price(order.body, tariff, world.config.price) * order.count


def _signed(answer: Answer, call: Call) -> Answer:
    """Add the ids that the provider's headers carry."""
    headers = {"x-request-id": call.request_id, **answer.headers}
    if call.model:
        headers["x-inference-id"] = call.inference_id
    if call.client_request_id:
        headers["x-client-request-id"] = call.client_request_id
    return replace(answer, headers=headers)
