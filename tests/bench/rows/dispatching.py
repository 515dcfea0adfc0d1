"""What a dispatcher costs: with nothing to do, and for each job of a steady stream."""

import asyncio

from tests.bench import client
from tests.bench.figures import Figure
from tests.bench.ground import PEERS, Ground, Process, settings_of
from tests.bench.rows.submitting import submissions

# Seconds after the start, in which each duty has its first turns and Postgres its first plans; and that it
# is watched, two of the turns that are taken anyway.
_SETTLED, _IDLE = 25.0, 20.0
_PACE = 20  # jobs per second
_DONE = "SELECT count(*) FROM deliveries WHERE state = 'delivered'"


async def measure(ground: Ground) -> list[Figure]:
    """Read its seconds of CPU: idle, then while jobs of one second each come one by one."""
    jobs = 600 if ground.full else 200
    ground.configure(latency=1.0)
    with ground.database() as database:
        async with ground.darkroom(database, "api", "worker", "dispatcher") as darkroom:
            (dispatcher,) = darkroom.processes["dispatcher"]
            idle, bare = await _idle(ground, database, dispatcher)
            began = dispatcher.cpu
            webhook: dict[str, object] = {"webhook": {"url": ground.receiver.url}}
            load = await client.pace(
                darkroom.port, submissions(jobs, darkroom.headers, webhook),
                per_second=_PACE, connections=4,
            )  # fmt: skip
            load.demand(202)
            await darkroom.until(_DONE, jobs)
            each = (dispatcher.cpu - began) / jobs
    ground.configure(latency=0.0)
    return [
        Figure("dispatcher: CPU when idle, of a core", "", 100 * idle, 0.5, "less", " %",
               raw=f"a bare loop that asks Postgres once a second: {100 * bare:.2f} %"),
        Figure(f"dispatcher: CPU per job at {_PACE}/s", "", 1000 * each, 3.0, "less", " ms"),
    ]  # fmt: skip


async def _idle(ground: Ground, database: str, dispatcher: Process) -> tuple[float, float]:
    """Return what a dispatcher with nothing to do takes of a core, and a bare loop beside it."""
    folder = ground.folder / "idle"
    settings_of(ground, database, folder)
    async with ground.peer(str(PEERS / "bare_idle.py"), folder=folder) as bare:
        await asyncio.sleep(_SETTLED)
        began = [each.cpu for each in (dispatcher, bare)]
        await asyncio.sleep(_IDLE)
        ended = [each.cpu for each in (dispatcher, bare)]
    ours, theirs = ((b - a) / _IDLE for a, b in zip(began, ended, strict=True))
    return ours, theirs
