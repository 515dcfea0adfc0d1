"""The whole of Darkroom as real processes, in a folder and on free ports of its own.

Nobody here is a stand-in but the provider: api, dispatcher and worker are started as an operator starts
them, with small leases, and are killed, frozen and started again by their process id. What a customer
can see goes over HTTP; the simulator, the receiver of webhooks and the image store are witnesses that
Darkroom cannot talk to, and `witnesses.check` compares them with the books.
"""

import asyncio
import atexit
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx
import psycopg
from psycopg import sql

from deploy.local import ports
from deploy.local.servers.server import SAME_ACCOUNT, launched, tail
from models.accounts import projects
from models.platform.db import Database
from models.platform.vault import Vault
from models.settings import Settings, inherited
from tests.conftest import PLAIN, SECRET, make_project, make_settings
from tests.e2e import cdn as cdns
from tests.e2e import receiver as receivers
from tests.e2e.cdn import Cdn
from tests.e2e.nursery import Born, Nursery
from tests.e2e.receiver import Receiver
from tests.e2e.shapes import Call, Job, Ledger
from tests.fixtures.databases import TEMPLATE

ROOT = Path(__file__).resolve().parents[2]
PRICE = 91_000  # credits of one image
MODEL = "bytedance/seedream-5-0-lite-preview"
KEY = "simulator-key"
TERMINAL = {"succeeded", "failed", "canceled", "expired"}
START = 30.0  # seconds for a role to be ready; about 3 s of CPU, shared with others
PATIENCE = 30.0  # seconds for a job, whatever happens to it
LEASE = 3.0  # seconds: DARKROOM_LEASE_RUN
CALL = 7.0  # seconds: DARKROOM_ATTEMPT_TIMEOUT

_LOOK = 0.1  # seconds between two looks: each costs the processes under test their time

# With lags of seconds the duties ask the account more often than the 200 times a minute that the provider
# allows; on a stage nobody minds, so that a test does not wait for the minute's end.
_PATIENT = 1_000_000
_UNCOUNTED = (
    "INSERT INTO duties (name, window_start, window_count) "
    "VALUES ('provider_requests', now() + interval '1 day', -1000000)"
)

_MODULES = {
    "api": ("api",),
    "dispatcher": ("worker.dispatcher",),
    "worker": ("worker",),
    "simulator": ("deploy.simulator",),
}
# Takeovers within seconds instead of minutes; each stays well above the heartbeat.
_SMALL = {
    "DARKROOM_LEASE_RELEASE": "2",
    "DARKROOM_LEASE_RUN": str(LEASE),
    "DARKROOM_HEARTBEAT": "0.5",
    "DARKROOM_WORKER_SEEN": "2",
    "DARKROOM_TICK": "0.2",
    "DARKROOM_DELIVERY_LEASE": "4",
    "DARKROOM_WEBHOOK_TIMEOUT": "3",
    "DARKROOM_LOG_LAG": "1",
    "DARKROOM_ATTEMPT_TIMEOUT": str(CALL),
    "DARKROOM_ATTEMPT_TIMEOUT_LARGE": str(CALL),
    "DARKROOM_TYPICAL_CALL": "0",
    "DARKROOM_GATE_PROBE": "0.5",
    "DARKROOM_GENERATE_SLOTS": "50",
    "DARKROOM_DELIVER_SLOTS": "16",
    "DARKROOM_PROVIDER_LIMIT": "50",
    # What goes wrong is scripted, by the dozen: the limit and the breakers are for their own tests.
    "DARKROOM_PROVIDER_LIMIT_FLOOR": "50",
    "DARKROOM_BREAKER_ERRORS": "1000",
    "DARKROOM_BREAKER_LOST": "1000",
    "DARKROOM_RETRY_BASE": "0.1",
    "DARKROOM_RETRY_CAP": "0.5",
    "DARKROOM_GRACE": "30",
    "DARKROOM_DRAIN": "0",
    "PYTHONUNBUFFERED": "1",
}


@dataclass
class Actor:
    """One process of a role; `ready` is the address that answers 200 once it works."""

    name: str
    process: "subprocess.Popen[bytes] | Born"
    log: Path
    ready: str
    read: int = 0  # lines of its log that were looked at

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def news(self) -> list[str]:
        """Return the lines that it has logged since the last look."""
        lines = self.log.read_text().splitlines()
        found, self.read = lines[self.read :], len(lines)
        return found

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open, and it does nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self.process.send_signal(signal.SIGCONT)

    def terminate(self, patience: float) -> int:
        """SIGTERM; returns the exit status, or raises `TimeoutExpired` after `patience` seconds."""
        self.process.terminate()
        return self.process.wait(patience)


@dataclass
class Stage:
    """One running Darkroom with its witnesses."""

    folder: Path
    settings: Settings
    redis_url: str
    receiver: Receiver
    cdn: Cdn
    environment: Mapping[str, str]
    actors: list[Actor] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    key: str = ""
    account: str = SAME_ACCOUNT  # what the roles run under, see `deploy/local/servers/launch.py`

    def __post_init__(self) -> None:
        self._ports = {"api": ports.pick(), "simulator": ports.pick()}
        self.simulator = f"http://127.0.0.1:{self._ports['simulator']}"
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self._ports['api']}",
            timeout=70, trust_env=False, verify=PLAIN,
        )  # fmt: skip
        self.cdn.origin = self.simulator

    def start(self, *roles: str, environment: Mapping[str, str] | None = None) -> list[Actor]:
        """Start a process of each role at once, and wait until all of them work."""
        started = [self._launch(role, environment or {}) for role in roles]
        for actor in started:
            self.until_ready(actor)
        if "simulator" in roles:
            self.configure(log_requests=_PATIENT)
        return started

    def fill(self) -> None:
        """Have one process of each role: start what is missing, kill what is too many."""
        for role in _MODULES:
            living = self.living(role)
            for actor in living[:-1]:
                actor.kill()
            for actor in living[-1:]:
                actor.thaw()
        if not self.living("dispatcher"):
            # A dead dispatcher's leases on duties last a minute; here that minute is over.
            self.execute("UPDATE duties SET lease_until = now() WHERE holder IS NOT NULL")
        self.start(*(role for role in _MODULES if not self.living(role)))

    def living(self, role: str) -> list[Actor]:
        """Return the processes of a role that live, oldest first."""
        return [each for each in self.actors if each.name == role and each.process.poll() is None]

    def begin(
        self, role: str, environment: Mapping[str, str] | None = None, *, root: Path = ROOT
    ) -> Actor:
        """Start a process without waiting for it, with the code of a folder."""
        return self._launch(role, environment or {}, root)

    def until_ready(self, actor: Actor, patience: float = START) -> None:
        """Wait until a role works."""
        eventually(
            lambda: actor.process.poll() is not None or _is_ok(actor.ready),
            f"{actor.name} is ready", patience,
        )  # fmt: skip
        assert actor.process.poll() is None, f"{actor.name} ended:\n{tail(actor.log, 30)}"

    def actor(self, role: str) -> Actor:
        """Return the newest process of a role that lives."""
        return self.living(role)[-1]

    def submit(self, script: str = "ok", **fields: object) -> str:
        """Submit a job whose calls the simulator answers by `script`; returns its id."""
        answer = self.post(script, **fields)
        assert answer.status_code == 202, answer.text
        return Job.model_validate(answer.json()).id

    def post(self, script: str = "ok", **fields: object) -> httpx.Response:
        """Post a job with a webhook to the receiver; what was accepted is remembered."""
        headers = {"idempotency-key": str(fields.pop("key", None) or secrets.token_hex(8))}
        body = {
            "input": {"model": MODEL, "prompt": f"a red bicycle [sim: {script}]"},
            "webhook": {"url": self.receiver.url},
        } | fields
        answer = self.client.post("/v1/jobs", json=body, headers=headers)
        if answer.status_code == 202 and (made := answer.json()["id"]) not in self.accepted:
            self.accepted.append(made)
        return answer

    def job(self, job_id: str, wait: int = 0) -> Job:
        """Read a job, held for up to `wait` seconds until it is terminal."""
        answer = self.client.get(f"/v1/jobs/{job_id}", params={"wait": wait})
        assert answer.status_code == 200, answer.text
        return Job.model_validate(answer.json())

    def finish(self, job_id: str, patience: float = PATIENCE) -> Job:
        """Wait until a job is terminal."""
        job = self.job(job_id, wait=round(patience))
        assert job.status in TERMINAL, f"{job_id} is still {job.status} ({job.waiting_reason})"
        return job

    def resolved(self, job_id: str, patience: float = PATIENCE) -> Job:
        """Wait until a job is terminal and the charge of each of its attempts is known."""
        self.finish(job_id, patience)
        eventually(
            lambda: "unknown" not in self.job(job_id).charges,
            f"the charges of {job_id} are known", patience,
        )  # fmt: skip
        return self.job(job_id)

    def calls(self, job_id: str | None = None) -> list[Call]:
        """Return the paid calls that the simulator saw, of one job or of all."""
        seen = self._ask("GET", "calls").json()["calls"]
        calls = [Call.model_validate(call) for call in seen]
        return [
            call for call in calls
            if job_id is None or (call.client_request_id or "").startswith(f"{job_id}:")
        ]  # fmt: skip

    def ledger(self) -> Ledger:
        """Return the simulator's books."""
        return Ledger.model_validate(self._ask("GET", "ledger").json())

    def configure(self, **settings: object) -> None:
        """Change how the simulator behaves."""
        self._ask("PUT", "config", settings).raise_for_status()

    def top_up(self, usd: float) -> None:
        """Bring money into the simulated wallet, or take it out."""
        self._ask("POST", "topup", {"usd": usd}).raise_for_status()

    @contextmanager
    def late_log(self) -> Iterator[None]:
        """Let the provider's log be behind until the block ends: nobody learns a charge from it."""
        self.configure(log_lag=3600)
        try:
            yield
        finally:
            self.configure(log_lag=0)

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Ask Darkroom's database."""
        url = self.settings.database_url.get_secret_value()
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def execute(self, statement: str) -> None:
        """Change Darkroom's database."""
        with psycopg.connect(self.settings.database_url.get_secret_value()) as connection:
            connection.execute(statement.encode())

    def number(self, query: str, *values: object) -> int:
        """Ask Darkroom's database for one number."""
        return int(str(self.rows(query, *values)[0][0]))

    def holder(self, job_id: str) -> Actor:
        """Return the worker that has a running job, by the process id in the worker's name."""
        (attempt,) = self.rows(
            "SELECT worker FROM attempts WHERE client_request_id LIKE %s ORDER BY number DESC LIMIT 1",
            f"{job_id}:%",
        )
        pid = int(str(attempt[0]).split("-")[-2])
        return next(actor for actor in self.actors if actor.pid == pid)

    def close(self) -> None:
        """Kill every process that is left."""
        self.client.close()
        self.leave()

    def leave(self) -> None:
        """Kill every process that is left; `fill` begins anew.

        Under `make coverage` each may end by itself first, and write down what it has run.
        """
        if "COVERAGE_PROCESS_CONFIG" in self.environment:
            for actor in self.actors:
                actor.thaw()
                with suppress(subprocess.TimeoutExpired):
                    actor.terminate(PATIENCE)
        for actor in self.actors:
            actor.kill()

    def _ask(self, method: str, what: str, json: object = None) -> httpx.Response:
        url = f"{self.simulator}/_simulator/{what}"
        return httpx.request(method, url, json=json, trust_env=False, verify=PLAIN)

    def _launch(self, role: str, environment: Mapping[str, str], root: Path = ROOT) -> Actor:
        metrics = ports.pick()
        arguments: tuple[str, ...] = ()
        ready = f"http://127.0.0.1:{metrics}/readyz"
        port = environment.get("DARKROOM_PORT", str(self._ports["api"]))
        if role == "api":
            ready = f"http://127.0.0.1:{port}/readyz"
        if role == "simulator":
            ready = f"{self.simulator}/reference/t-rex.png"
            arguments = (
                *("--port", str(self._ports["simulator"]), "--pictures", "stamped"),
                *("--data", str(self.folder / "simulator"), "--public-url", self.cdn.url),
                *("--key", environment.get("AIMLAPI_KEY", KEY)),
            )
        log = self.folder / f"{role}.{len(self.actors)}.log"
        # Where it runs as somebody else, or other code, or not on Linux, a role starts from nothing.
        forked = sys.platform == "linux" and self.account == SAME_ACCOUNT and root == ROOT
        own = {**self.environment, "DARKROOM_PORT": port,
               "DARKROOM_PUBLIC_URL": str(self.client.base_url),
               "AIMLAPI_BASE_URL": self.simulator,
               "DARKROOM_METRICS_PORT": str(metrics), **environment}  # fmt: skip
        with log.open("ab") as out:
            process = (
                _nursery().bear(*_MODULES[role], arguments, own, out.fileno())
                if forked
                else subprocess.Popen(
                    launched(
                        (sys.executable, "-m", *_MODULES[role], *arguments), account=self.account
                    ),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd=root,
                    env=own,
                    start_new_session=True,
                )
            )
        actor = Actor(role, process, log, ready)
        self.actors.append(actor)
        return actor


@contextmanager
def opened(
    folder: Path, server: str, redis_url: str, environment: Mapping[str, str] | None = None
) -> Iterator[Stage]:
    """Return a stage without any role yet, on a database of its own; afterwards nothing is left.

    `server` is the URL of a PostgreSQL with the migrated template. `environment` is for every role.
    """
    with (
        _database(server) as database_url,
        receivers.listening() as receiver,
        cdns.opened() as cdn,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        settings = make_settings(
            database_url=database_url, redis_url=redis_url, storage_url=str(folder / "images")
        )
        stage = Stage(folder, settings, redis_url, receiver, cdn,
                      role_environment(settings, environment or {}))  # fmt: skip
        stage.key, receiver.secret = asyncio.run(project(settings))
        stage.client.headers["authorization"] = f"Bearer {stage.key}"
        stage.execute(_UNCOUNTED)
        try:
            yield stage
        finally:
            stage.close()


def role_environment(settings: Settings, extra: Mapping[str, str]) -> dict[str, str]:
    """Write the environment of the roles: ours alone, whatever this machine has set."""
    ours = ("DARKROOM_", "AIMLAPI_", "DATABASE_URL", "REDIS_URL", "PYTEST_")
    kept = {name: value for name, value in inherited().items() if not name.startswith(ours)}
    return {
        **kept,
        **_SMALL,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "DARKROOM_STORAGE_URL": settings.storage_url,
        "DARKROOM_SECRET": SECRET,
        "DARKROOM_EGRESS_ALLOW": "127.0.0.0/8",
        "AIMLAPI_KEY": KEY,
        **extra,
    }


def eventually(holds: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait until something holds, or fail saying what did not."""
    never, deadline = threading.Event(), time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        never.wait(_LOOK)


@contextmanager
def _database(server: str) -> Iterator[str]:
    name = f"stage_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(TEMPLATE)
            )
        )
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        # A connection of its own: the server may have been restarted meanwhile.
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def project(settings: Settings, name: str = "e2e") -> tuple[str, str]:
    """Make a project; returns an API key of it, and the secret that signs its webhooks."""
    database, vault = Database(settings, ring=lambda _topic, _key: None), Vault.of(settings)
    try:
        caller, key = await make_project(database, vault, name)
        async with database.transaction() as tx:
            return key, (await projects.webhook_secrets(tx, vault, caller.project_id))[0]
    finally:
        await database.close()


def _is_ok(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False, verify=PLAIN).status_code == 200
    except httpx.HTTPError:
        return False


@cache
def _nursery() -> Nursery:
    made = Nursery(ROOT)
    atexit.register(made.close)
    return made
