"""What all that is measured stands on: one PostgreSQL, one Redis, one simulator, one receiver.

PostgreSQL is durable here (fsync on), as it is for whoever runs Darkroom. The receiver and the load come
from this process; everything else has processes of its own, whose CPU and memory can be read.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from psycopg import sql

from deploy.local import ports
from deploy.local.servers import postgres, valkey
from deploy.local.servers.server import launched, tail
from models.platform.db import Database, migrate
from models.platform.vault import Vault
from models.settings import Settings, inherited
from tests.bench.receiver import Receiver
from tests.conftest import SECRET, make_project, make_settings
from tests.fixtures.databases import TEMPLATE

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"
INPUT = {"model": "bytedance/seedream-5-0-lite-preview", "prompt": "a red bicycle"}
_KEY = "simulator-key"
_START = 60.0  # seconds for a process to be ready
_LOOK = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")
_OURS = ("DARKROOM_", "AIMLAPI_", "DATABASE_URL", "REDIS_URL", "PYTEST_", "COVERAGE_")


@dataclass
class Process:
    """A process that is measured."""

    name: str
    popen: "subprocess.Popen[bytes]"
    log: Path

    @property
    def cpu(self) -> float:
        """Seconds of CPU that it and its children have used (proc(5), stat)."""
        return used_by(self.popen.pid)

    @property
    def memory(self) -> int:
        """Bytes of memory that are its and its children's own (proc(5), smaps_rollup)."""
        return sum(_memory(pid) for pid in _family(self.popen.pid))

    @property
    def own_memory(self) -> int:
        """Bytes of memory that are its own, without its children's."""
        return _memory(self.popen.pid)

    def end(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough."""
        self.popen.terminate()
        try:
            self.popen.wait(20)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


@dataclass
class Ground:
    """The servers of one run, and how to put something on them."""

    folder: Path
    server: str
    redis: str
    receiver: Receiver
    simulator: str
    full: bool
    environments: Path  # Darkroom's, as an image has it, and the peers'
    before: Path | None  # another version of Darkroom, to be measured beside this one
    root: Path = ROOT  # of the version that runs
    _made: int = field(default=0)

    @contextmanager
    def database(self, template: str | None = TEMPLATE) -> Iterator[str]:
        """Make a database, with Darkroom's tables unless told otherwise; returns its URL."""
        name = f"bench_{secrets.token_hex(6)}"
        made = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            made += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        with psycopg.connect(self.server, autocommit=True) as admin:
            admin.execute(made)
            try:
                yield f"{self.server.rpartition('/')[0]}/{name}"
            finally:
                drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
                admin.execute(drop.format(sql.Identifier(name)))

    @asynccontextmanager
    async def darkroom(
        self, database: str, *roles: str, **environment: object
    ) -> AsyncIterator["Darkroom"]:
        """Run roles of Darkroom on a database, with the settings an operator would have."""
        settings = make_settings(
            database_url=database, redis_url=self.redis, storage_url=str(self._path("images"))
        )
        darkroom = Darkroom(self, settings, ports.pick(), await _project(settings), environment)
        try:
            await darkroom.start(*roles)
            yield darkroom
        finally:
            darkroom.stop()

    @asynccontextmanager
    async def peer(
        self, *command: str, python: Path | None = None, port: int = 0, folder: Path | None = None
    ) -> AsyncIterator[Process]:
        """Run a peer in its own environment until the block ends."""
        process = self.launch(
            command[0], (str(python or self.python("requirements")), *command), {}, folder or PEERS
        )
        try:
            if port:
                await _ready(process, f"http://127.0.0.1:{port}/openapi.json")
            yield process
        finally:
            process.end()

    def launch(
        self, name: str, command: tuple[str, ...], environment: Mapping[str, str], folder: Path
    ) -> Process:
        """Start a process that dies with this one."""
        log = self._path(f"{Path(name).name}.log")
        kept = {k: v for k, v in inherited().items() if not k.startswith(_OURS)}
        with log.open("wb") as out:
            popen = subprocess.Popen(
                launched(command),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder,
                env={**kept, "PYTHONPATH": str(PEERS), **environment},
            )  # fmt: skip
        return Process(name, popen, log)

    def python(self, environment: str) -> Path:
        """Return the interpreter of one of the environments."""
        return self.environments / environment / "bin" / "python"

    def number(self, database: str, query: str) -> float:
        """Ask a database for one number."""
        with psycopg.connect(database) as connection:
            row = connection.execute(query.encode()).fetchone()
        return float(str(row[0])) if row else 0.0

    def configure(self, **values: object) -> None:
        """Change how the simulator behaves."""
        httpx.put(f"{self.simulator}/_simulator/config", json=values).raise_for_status()

    def calls(self, after: int = 0) -> list[dict[str, object]]:
        """Return the calls that the simulator saw after the one of this number."""
        found: list[dict[str, object]] = httpx.get(
            f"{self.simulator}/_simulator/calls", params={"after": after}, timeout=60
        ).json()["calls"]
        return found

    def _path(self, name: str) -> Path:
        self._made += 1
        return self.folder / f"{self._made:03}-{name}"


@dataclass
class Darkroom:
    """Roles of Darkroom on one database."""

    ground: Ground
    settings: Settings
    port: int
    key: str
    environment: Mapping[str, object]
    processes: dict[str, list[Process]] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """What an authorized request has."""
        return {"authorization": f"Bearer {self.key}"}

    @property
    def url(self) -> str:
        """Where its api listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self, *roles: str) -> None:
        """Start a process of each role and wait until all of them work."""
        for role in roles:
            metrics = ports.pick()
            module = {"dispatcher": "worker.dispatcher"}.get(role, role)
            process = self.ground.launch(
                role, (str(self.ground.python("runtime")), "-m", module), self._environment(metrics),
                self.ground.root,
            )  # fmt: skip
            self.processes.setdefault(role, []).append(process)
            port = self.port if role == "api" else metrics
            await _ready(process, f"http://127.0.0.1:{port}/readyz")

    async def operate(self, *words: str) -> None:
        """Run one of the operator's commands, `python -m models …`, to its end."""
        command = (str(self.ground.python("runtime")), "-m", "models", *words)
        await finished(*command, folder=self.ground.root, environment=self._environment(0))

    def stop(self) -> None:
        """End every process."""
        for processes in self.processes.values():
            for process in processes:
                process.end()

    @property
    def database(self) -> str:
        """The URL of its database."""
        return self.settings.database_url.get_secret_value()

    def execute(self, statement: str) -> None:
        """Change the database."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(statement.encode())

    def number(self, query: str) -> float:
        """Ask the database for one number."""
        return self.ground.number(self.database, query)

    async def until(self, query: str, number: float, patience: float = 300.0) -> None:
        """Wait until a query returns this number."""
        deadline = time.monotonic() + patience
        while (found := await asyncio.to_thread(self.number, query)) != number:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{query} gives {found:g}, not {number:g}")
            await asyncio.sleep(_LOOK)

    def _environment(self, metrics: int) -> dict[str, str]:
        settings = self.settings
        ours = {
            "DATABASE_URL": self.database,
            "REDIS_URL": settings.redis_url.get_secret_value(),
            "DARKROOM_STORAGE_URL": settings.storage_url,
            "DARKROOM_SECRET": SECRET,
            "DARKROOM_EGRESS_ALLOW": "127.0.0.0/8",
            "DARKROOM_PORT": str(self.port),
            "DARKROOM_PUBLIC_URL": self.url,
            "DARKROOM_METRICS_PORT": str(metrics),
            "DARKROOM_LOG_LEVEL": "WARNING",
            "DARKROOM_REQUESTS_PER_MINUTE": "100000000",
            "DARKROOM_QUEUED_MAX": "100000000",
            "AIMLAPI_KEY": _KEY,
            "AIMLAPI_BASE_URL": self.ground.simulator,
            "DARKROOM_TYPICAL_CALL": "0",
        }
        return ours | {name: str(value) for name, value in self.environment.items()}


@asynccontextmanager
async def opened(
    folder: Path,
    *,
    full: bool,
    environments: Path,
    programs: Path | None = None,
    before: Path | None = None,
) -> AsyncIterator[Ground]:
    """Start the servers, the simulator and the receiver; `programs` are another PostgreSQL's."""
    with (
        postgres.serve(folder / "postgres", programs=programs) as server,
        valkey.serve(folder / "valkey") as redis,
    ):
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        url = f"{server.url.rpartition('/')[0]}/{TEMPLATE}"
        await asyncio.to_thread(migrate.migrate, url)
        port = ports.pick()
        async with Receiver.listening() as receiver:
            ground = Ground(
                folder, server.url, redis.url, receiver, f"http://127.0.0.1:{port}",
                full=full, environments=environments, before=before,
            )  # fmt: skip
            command = (
                *(sys.executable, "-m", "deploy.simulator", "--port", str(port)),
                *("--pictures", "stamped", "--key", _KEY, "--balance-usd", "1000000"),
            )
            simulator = ground.launch("simulator", command, {}, ROOT)
            try:
                await _ready(simulator, f"{ground.simulator}/_simulator/")
                yield ground
            finally:
                simulator.end()


async def finished(*command: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run a command to its end; raises `RuntimeError` unless it ends well."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")


def settings_of(ground: Ground, database: str, folder: Path) -> None:
    """Write `peer.json`, which configures a peer's worker that runs in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peer.json").write_text(json.dumps({
        "database": database, "redis": ground.redis, "provider": ground.simulator,
        "webhook": ground.receiver.url, "folder": str(folder / "images"), "input": INPUT,
    }))  # fmt: skip


def used_by(pid: int) -> float:
    """Return the seconds of CPU that a process and its children have used (proc(5), stat)."""
    return sum(_cpu(each) for each in _family(pid))


def _family(pid: int) -> list[int]:
    # Children are listed by the thread that has started them.
    listed = [_said(each) for each in Path(f"/proc/{pid}/task").glob("*/children")]
    children = [int(each) for each in " ".join(listed).split()]
    return [pid, *(each for child in children for each in _family(child))]


def _cpu(pid: int) -> float:
    fields = _said(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(int(each) for each in fields[11:15]) / _TICKS


def _memory(pid: int) -> int:
    lines = _said(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _said(place: Path) -> str:
    """Read what the kernel says of a process; nothing once it has ended, as a child may at any time."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return place.read_text()
    return ""


async def _ready(process: Process, url: str) -> None:
    deadline = time.monotonic() + _START
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            if process.popen.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.name} does not answer:\n{tail(process.log, 30)}")
            await asyncio.sleep(_LOOK)


async def _project(settings: Settings) -> str:
    database = Database(settings, ring=lambda _topic, _key: None, pool=1)
    try:
        _, key = await make_project(database, Vault.of(settings), f"bench-{secrets.token_hex(3)}")
        return key
    finally:
        await database.close()
