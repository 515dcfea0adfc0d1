"""What a worker costs per job with many calls in flight, and how many jobs get through at all."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from deploy.local.servers.server import tail
from tests.bench import client
from tests.bench.figures import Figure
from tests.bench.ground import PEERS, Ground, Process, finished, settings_of
from tests.bench.rows.submitting import submissions

_MB = 1024 * 1024
_LATENCY = 2.0  # seconds of one call, where many are in flight
_PAIRS = 3  # of runs that differ by a sixth from one to the next
_PATIENCE = 300.0  # seconds for one run
_DONE = "SELECT count(*) FROM deliveries WHERE state = 'delivered'"
_PEER_DONE = "SELECT count(*) FROM peer_jobs WHERE delivered_at IS NOT NULL"


async def measure(ground: Ground) -> list[Figure]:
    """Do the same jobs on Darkroom, taskiq and procrastinate, one after the other."""
    flight = 1_000 if ground.full else 400
    jobs = 2 * flight
    ground.configure(latency=_LATENCY)
    ours = await _darkroom(ground, jobs, flight)
    theirs = await _taskiq(ground, jobs, flight)
    ground.configure(latency=0.0)
    quick = 3_000 if ground.full else 500
    alone, several = await _in_turns(ground, quick // 2)
    at_once = {
        "darkroom": alone,
        "taskiq": (await _taskiq(ground, quick, 64)).rate,
        "procrastinate": (await _procrastinate(ground, quick, 64)).rate,
        "arq": (await _arq(ground, quick, 64)).rate,
    }
    better = max(at_once["taskiq"], at_once["procrastinate"])
    return [
        Figure(f"worker: CPU per job at {flight} in flight", "taskiq, the same work",
               ours.cpu / theirs.cpu, 0.9, "less",
               raw=f"{1000 * ours.cpu / jobs:.1f} ms : {1000 * theirs.cpu / jobs:.1f} ms"),
        Figure(f"worker: memory at {flight} in flight, one process", "",
               ours.own_memory / _MB, 130, "less", " MB",
               raw=f"idle {ours.idle / _MB:.0f} MB; with those that draw {ours.memory / _MB:.0f} MB; "
                   f"taskiq {theirs.memory / _MB:.0f} MB"),
        Figure("jobs through all of it, provider at once", "the better of taskiq, procrastinate",
               at_once["darkroom"] / better, 1.0, "more",
               raw=", ".join(f"{name} {rate:.0f}/s" for name, rate in at_once.items())),
        Figure("the same with two dispatchers and four workers on two cores", "one of each",
               several / alone, 1.0, "more", raw=f"{several:.0f}/s : {alone:.0f}/s"),
    ]  # fmt: skip


class _Run:
    """The worst and the sum of one run: seconds, seconds of CPU, bytes."""

    def __init__(self, ground: Ground, jobs: int) -> None:
        self.jobs, self.cpu, self.seconds = jobs, 0.0, 0.0
        self.idle, self.memory, self.own_memory = 0, 0, 0
        self._ground, self._seen = ground, len(ground.calls())
        self._until = 0.0

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds

    async def watch(self, process: Process, done: Callable[[], float]) -> None:
        """Wait until all is done; notes what the process took from the first call on."""
        self._until = time.perf_counter() + _PATIENCE
        while not await asyncio.to_thread(self._ground.calls, self._seen):
            await self._rest(process, 0.01)
        started, cpu = time.perf_counter(), process.cpu
        while await asyncio.to_thread(done) < self.jobs:
            self.memory = max(self.memory, process.memory)
            self.own_memory = max(self.own_memory, process.own_memory)
            await self._rest(process, 0.1)
        self.seconds, self.cpu = time.perf_counter() - started, process.cpu - cpu

    async def _rest(self, process: Process, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if process.popen.poll() is not None or time.perf_counter() > self._until:
            raise RuntimeError(f"{process.name} has not done its jobs:\n{tail(process.log, 30)}")


async def _darkroom(
    ground: Ground, jobs: int, flight: int, *, workers: int = 1, dispatchers: int = 1
) -> _Run:
    """Submit while all is paused, then resume; each worker has places for all `flight` calls at once."""
    run = _Run(ground, jobs)
    with ground.database() as database:
        async with ground.darkroom(
            database, "api", *["worker"] * workers, *["dispatcher"] * dispatchers,
            DARKROOM_GENERATE_SLOTS=flight, DARKROOM_PROVIDER_LIMIT=flight,
            DARKROOM_PROVIDER_LIMIT_FLOOR=flight,
            DARKROOM_WEBHOOK_RATE=1_000_000,  # no peer spares its receiver: ours would get 100 a second
        ) as darkroom:  # fmt: skip
            await darkroom.operate("pause")
            load = await client.press(
                darkroom.port,
                submissions(jobs, darkroom.headers, {"webhook": {"url": ground.receiver.url}}),
                connections=16,
            )
            load.demand(202)
            worker, *_ = darkroom.processes["worker"]
            run.idle = worker.own_memory
            async with asyncio.TaskGroup() as group:
                group.create_task(run.watch(worker, lambda: darkroom.number(_DONE)))
                group.create_task(darkroom.operate("resume"))
    return run


async def _in_turns(ground: Ground, jobs: int) -> tuple[float, float]:
    """Return how many jobs a second one worker does, and four: in three pairs, for one tells little."""
    seconds = [0.0, 0.0]
    for _ in range(_PAIRS):
        for n, several in enumerate(({}, {"workers": 4, "dispatchers": 2})):
            seconds[n] += (await _darkroom(ground, jobs, 64, **several)).seconds
    alone, together = (_PAIRS * jobs / each for each in seconds)
    return alone, together


async def _taskiq(ground: Ground, jobs: int, flight: int) -> _Run:
    command = (
        "-m", "taskiq", "worker", "taskiq_peer:broker", "--workers", "1",
        "--max-async-tasks", str(flight), "--max-prefetch", str(flight),
    )  # fmt: skip
    return await _peer(ground, "taskiq_peer.py", command, jobs)


async def _procrastinate(ground: Ground, jobs: int, flight: int) -> _Run:
    script = str(PEERS / "procrastinate_peer.py")
    return await _peer(
        ground, "procrastinate_peer.py", (script, "worker", str(flight)), jobs, schema=True
    )


async def _arq(ground: Ground, jobs: int, flight: int) -> _Run:
    script = str(PEERS / "arq_peer.py")
    return await _peer(ground, "arq_peer.py", (script, "worker", str(flight)), jobs, arq=True)


async def _peer(
    ground: Ground,
    script: str,
    worker: tuple[str, ...],
    jobs: int,
    *,
    schema: bool = False,
    arq: bool = False,
) -> _Run:
    """Enqueue first, then start the worker, as with Darkroom: what is measured is the working."""
    run, python = _Run(ground, jobs), ground.python("arq" if arq else "requirements")
    with ground.database(None) as database:
        folder = ground.folder / database.rpartition("/")[2]
        settings_of(ground, database, folder)
        path = str(PEERS / script)
        if schema:
            await _finish(python, (path, "schema"), folder)
        await _finish(python, (path, str(jobs)), folder)
        async with AsyncExitStack() as stack:
            process = await stack.enter_async_context(
                ground.peer(*worker, python=python, folder=folder)
            )
            await run.watch(process, lambda: ground.number(database, _PEER_DONE))
    return run


async def _finish(python: Path, command: tuple[str, ...], folder: Path) -> None:
    await finished(str(python), *command, folder=folder, environment={"PYTHONPATH": str(PEERS)})
