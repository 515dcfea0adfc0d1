"""The simulator as an aiohttp application, and how to run one inside a test."""

import html
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from deploy.simulator.answers import wire
from deploy.simulator.config import Config
from deploy.simulator.routes import account, catalog, images, witness
from deploy.simulator.routes.generate import generate
from deploy.simulator.routes.images import IMAGES
from deploy.simulator.scenarios import lies
from deploy.simulator.scenarios.table import TABLE
from deploy.simulator.world import WORLD, World

_BODY_MAX = 256 * 1024 * 1024  # 14 inline references of 10 MB each, in base 64
_LINE_MAX = 64 * 1024  # some signed URLs are longer than the 8 kB that are usual
_BACKLOG = 2048  # a thousand callers may connect at the same moment


@dataclass(frozen=True)
class Running:
    """A simulator that answers at `url`."""

    url: str
    world: World


@asynccontextmanager
async def serve(config: Config) -> AsyncIterator[Running]:
    """Run a simulator until the block ends; calls still in flight a second later are cut off."""
    world = World(config)
    runner = web.AppRunner(
        create_app(world), access_log=None, shutdown_timeout=1.0, max_line_size=_LINE_MAX
    )
    try:
        await runner.setup()
        await web.TCPSite(runner, config.host, config.port, backlog=_BACKLOG).start()
        host, port = runner.addresses[0][:2]
        yield Running(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", world)
    finally:
        await runner.cleanup()
        world.close()


def create_app(world: World) -> web.Application:
    """Put the routes together."""
    app = web.Application(client_max_size=_BODY_MAX)
    app[WORLD] = world
    app[IMAGES] = world.images
    app.on_response_prepare.append(_badge)
    app.add_routes(
        (
            web.get("/", _root),
            web.post("/v1/images/generations", generate),
            *account.routes(),
            web.get("/v1/models", catalog.models),
            web.get("/docs-json", catalog.schema),
            web.get("/models/metrics", catalog.metrics),
            web.get("/cdn/generations/{name}", images.fetch, allow_head=False),
            web.head("/cdn/generations/{name}", images.refuse_head),
            web.get("/reference/{name}", images.reference),
            web.get("/_simulator/", witness.state),
            web.get("/_simulator/calls", witness.calls),
            web.get("/_simulator/ledger", witness.ledger),
            web.put("/_simulator/config", witness.configure),
            web.post("/_simulator/topup", witness.top_up),
        )
    )
    return app


async def _badge(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(wire.BADGE)


async def _root(request: web.Request) -> web.Response:
    """`GET /`: say what this is, and list the scenarios."""
    rows = "".join(
        f"<tr><td><code>{html.escape(row.name)}{'=NUMBER' if row.number is not None else ''}"
        f"</code><td>{html.escape(row.says)}<td>{'charged' if row.charged else 'not charged'}"
        for row in TABLE.values()
    )
    lied = "".join(
        f"<tr><td><code>+{html.escape(row.name)}{'=NUMBER' if row.number is not None else ''}"
        f"</code><td>{html.escape(row.says)}"
        for row in lies.TABLE.values()
    )
    world = request.app[WORLD]
    page = (
        "<!doctype html><title>Simulator</title><h1>This is a simulator</h1>"
        "<p>It stands in for AIML API while Darkroom is run or tested without a key. No model runs,"
        " no money moves: the pictures say SIMULATOR and the wallet is pretend."
        f"<p>{len(world.calls.all)} calls so far, {world.in_flight} in flight."
        ' <a href="/_simulator/">State</a>, <a href="/_simulator/calls">calls</a>,'
        ' <a href="/_simulator/ledger">ledger</a>.'
        "<p>Write <code>[sim: 429, 500, ok]</code> into a prompt: the n-th call of its job takes"
        " the n-th scenario, and the last repeats."
        f"<table><tr><th>scenario<th>answer<th>money{rows}</table>"
        "<p>A provider may say other things in its answer, its log and its ledger:"
        " <code>[sim: 500+charged]</code>, <code>[sim: ok+told=1+refunded]</code>."
        f"<table><tr><th>lie<th>what is said{lied}</table>"
    )
    return web.Response(text=page, content_type="text/html")
