"""The whole stack: servers, migrations, simulator, api, dispatcher and worker, then the demo."""

import asyncio
import signal
from collections.abc import Awaitable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from deploy.local import demo, folder, ports, roles, supervisor
from deploy.local.commands import Operator, api_key, operator_key
from deploy.local.demo import Demo
from deploy.local.roles import Places
from deploy.local.screen import Screen
from deploy.local.servers import postgres, valkey
from deploy.local.servers.server import Server, tail
from deploy.local.supervisor import Role, Supervisor
from models.errors import Misconfigured
from models.settings import LocalSettings, path_of

_READY = 60.0  # seconds for a role to answer; a cold start on two busy cores takes ten
_LOOK = 0.1


def run(settings: LocalSettings, screen: Screen, *, stay: bool) -> bool:
    """Run the stack and the demo; with `stay`, keep running until a signal comes.

    True when the demo's job succeeded and its webhook verified, or when a signal ended a stack
    that was to stay. Raises `Misconfigured` or `KeepsDyingError` when the stack cannot run.
    """
    with ExitStack() as on:
        data = on.enter_context(folder.held(settings.data))
        if not ports.is_free(settings.port, settings.host):
            raise Misconfigured(
                f"port {settings.port} is taken; stop what uses it or set DARKROOM_PORT"
            )
        screen.say(f"Darkroom, the local stack; its data is in {data}")
        servers: list[Server] = []
        on.callback(_say_the_end, screen, servers)
        if settings.database_url is None:
            servers.append(on.enter_context(postgres.serve(data / "postgres")))
            screen.say(f"postgres is up on 127.0.0.1:{servers[-1].port}")
        if settings.redis_url is None:
            servers.append(on.enter_context(valkey.serve(data / "valkey")))
            screen.say(f"valkey is up on 127.0.0.1:{servers[-1].port}")
        urls = {server.name: server.url for server in servers}
        places = roles.place(settings, data, urls.get("postgres"), urls.get("valkey"))
        supervisor.prepare(data / "logs")
        return asyncio.run(_Stack(settings, data, places, servers, screen, stay=stay).run())


@dataclass
class _Stack:
    settings: LocalSettings
    data: Path
    places: Places
    servers: Sequence[Server]
    screen: Screen
    stay: bool
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> bool:
        """Run until the work is done, something is hopeless, or a signal comes."""
        loop = asyncio.get_running_loop()
        for caught in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(caught, self._stop_or_hurry)
        work = asyncio.create_task(self._work())
        stop = asyncio.create_task(self.stop.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not work.done():
            self.screen.say("stopping (once more to stop at once)")
            work.cancel()
            await asyncio.wait({work})
            return self.stay
        return work.result()

    def _stop_or_hurry(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()

    async def _work(self) -> bool:
        operator = Operator(self.places.environment, self.places.root)
        the_roles = roles.build(self.places, self.data)
        keeping = Supervisor(the_roles, self.screen.say, servers=self.servers)
        watch = asyncio.create_task(keeping.run())
        show = asyncio.create_task(self._show(operator, the_roles))
        try:
            await asyncio.wait({watch, show}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
            succeeded = show.result()
            if self.stay:
                self.screen.say("it stays up until Ctrl-C")
                await watch
            return succeeded
        finally:
            for task in (show, watch):
                task.cancel()
            await asyncio.wait({show, watch})
            await keeping.stop(self.hurry)

    async def _show(self, operator: Operator, the_roles: Sequence[Role]) -> bool:
        """Migrate while the roles load, which wait for it; then get a key, and run the demo."""
        await operator.run("migrate")
        self.screen.say("the schema is up to date")
        async with httpx.AsyncClient(base_url=self.places.api, trust_env=False) as client:
            with self.screen.progress("starting", len(the_roles)) as advance:
                for role in the_roles:
                    await _ready(client, role)
                    self.screen.say(f"{role.name} is ready")
                    advance()
            key = await api_key(operator, self.settings, self.data, client)
            self.screen.say(f"the API key, kept in {self.data / 'api-key'}: {key}")
            client.headers["Authorization"] = f"Bearer {key}"
            self._say_where_webhooks_may_go()
            shown = Demo(
                client=client,
                logs=[role.log for role in the_roles],
                simulator=self.places.simulator,
                images=path_of(self.places.environment["DARKROOM_STORAGE_URL"]),
                screen=self.screen,
            )
            try:
                job_id = await self._example(shown)
            except httpx.HTTPError as refused:
                self.screen.say(f"the demo did not end: {_said(refused)}", "red")
                return False
            if job_id:
                when = "try" if self.stay else "with `make up`, try"
                self.screen.say(f"{when}: {demo.command(self.places.api, key, job_id)}", "bold")
            if self.stay:
                await self._say_where_to_look(client, operator)
            return job_id is not None

    async def _say_where_to_look(self, client: httpx.AsyncClient, operator: Operator) -> None:
        """Print the page's address, with a link that signs a browser in: once, within a minute."""
        file = await operator_key(operator, self.data, client)
        made = await client.post("/session/link")
        if made.is_success:
            self.screen.say(f"look at it, within a minute: {made.json()['url']}", "bold")
            self.screen.say(f"later, sign in with the API key at {self.places.api}/")
            self.screen.say(
                f"or with the operator's, kept in {file}, to see the whole installation"
            )

    async def _example(self, shown: Demo) -> str | None:
        """Run the example, but do not pay for it at each start: `make demo` makes it once more."""
        if self.stay and self.places.simulator is None:
            made = await shown.made_before()
            if made is not None:
                self.screen.say(
                    f"the example was made before, {made}; `make demo` pays for another"
                )
                return made
        self._say_what_it_costs()
        self.screen.say("submitting the documentation's example: T-Rex and blue mug")
        return await shown.run()

    def _say_what_it_costs(self) -> None:
        if self.places.simulator is None:
            self.screen.say(demo.price_warning(self.places.environment["AIMLAPI_BASE_URL"]))
        else:
            self.screen.say("no AIMLAPI_KEY: the provider is a SIMULATOR; nothing is spent")
            self.screen.say(
                "it fails as a prompt asks, “a red fox [sim: 429, 500, ok]”; all that it can do: "
                f"{self.places.simulator}/ or docs/testing-failures.md"
            )

    def _say_where_webhooks_may_go(self) -> None:
        allowed = self.places.environment["DARKROOM_EGRESS_ALLOW"]
        self.screen.say(f"webhooks may go to this machine: DARKROOM_EGRESS_ALLOW={allowed}")


def _say_the_end(screen: Screen, servers: Sequence[Server]) -> None:
    left = [server.name for server in servers if server.running]
    screen.say(f"still running: {', '.join(left)}" if left else "all stopped")


async def _ready(client: httpx.AsyncClient, role: Role) -> None:
    try:
        async with asyncio.timeout(_READY):
            while not await _is_ok(client.get(role.ready, timeout=2)):  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        raise Misconfigured(
            f"{role.name} does not answer at {role.ready}; {role.log} ends:\n{tail(role.log)}"
        ) from None


async def _is_ok(asked: Awaitable[httpx.Response]) -> bool:
    try:
        return (await asked).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _said(refused: httpx.HTTPError) -> str:
    if isinstance(refused, httpx.HTTPStatusError):
        return f"{refused.response.status_code} {refused.response.text}"
    return f"{type(refused).__name__} {refused}"
