"""How many polls per second one api process answers, and what a waiting client costs."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice, repeat

from deploy.local import ports
from tests.bench import client
from tests.bench.figures import Figure
from tests.bench.ground import INPUT, Darkroom, Ground

_ROUNDS, _CONNECTIONS, _JOBS = 3, 16, 100
_END, _SEEN = b"\r\n\r\n", b'\r\nif-none-match: "1-queue"\r\n\r\n'  # a job that waits, seen before
_LIMIT = (
    "half of its CPU is what FastAPI and uvicorn take for an empty route, the rest the key, the JSON and "
    "its part of a SELECT; the peer checks no key"
)
_HELD, _COMING = 2_000, 500  # clients, and how many come in a second
# Seconds over which the queries of a process with waiting clients are counted, so long that one more or
# less says little; before them, as many as a connection of PostgreSQL's may keep its count to itself
# (pgstat.c, PGSTAT_IDLE_INTERVAL).
_WATCHED, _COUNTED = 30.0, 12.0


async def measure(ground: Ground) -> list[Figure]:
    """Poll a hundred jobs in turns with the peer; then hold 2,000 clients."""
    each = 9_000 if ground.full else 3_000
    bare = ports.pick()
    with ground.database() as ours, ground.database(None) as theirs:
        async with (
            ground.darkroom(ours, "api") as darkroom,
            ground.peer("bare.py", str(bare), theirs, port=bare),
        ):
            polls = await _made(darkroom.port, darkroom.headers)
            at = {
                "darkroom": (darkroom.port, polls, 200),
                "unchanged": (darkroom.port, [each.replace(_END, _SEEN, 1) for each in polls], 304),
                "bare": (bare, await _made(bare, {}), 200),
            }
            best: dict[str, float] = dict.fromkeys(at, 0.0)
            for turn in range(_ROUNDS + 1):
                for name, (port, asked, status) in at.items():
                    n = each if turn else each // 10
                    load = await client.press(
                        port, islice(cycle(asked), n), connections=_CONNECTIONS
                    )
                    best[name] = max(best[name], load.demand(status).rate if turn else 0.0)
            held = await _hold(darkroom, polls[0])
    return [
        Figure("GET /v1/jobs/{id}, rate, of a bare API", "bare FastAPI + one SELECT",
               best["darkroom"] / best["bare"], 0.85, "more",
               raw=f"{best['darkroom']:,.0f}/s : {best['bare']:,.0f}/s", note=_LIMIT),
        Figure("the same with If-None-Match, nothing new", "bare FastAPI + one SELECT",
               best["unchanged"] / best["bare"], 0.85, "more",
               raw=f"{best['unchanged']:,.0f}/s : {best['bare']:,.0f}/s"),
        *held,
    ]  # fmt: skip


async def _made(port: int, headers: dict[str, str]) -> list[bytes]:
    """Make jobs; returns the requests that read them."""
    body = json.dumps({"input": INPUT}).encode()
    asked = client.request("POST", "/v1/jobs", body=body, headers=headers)
    load = await client.press(port, repeat(asked, _JOBS), connections=1, keep=True)
    made = [json.loads(each)["id"] for each in load.demand(202).bodies]
    return [client.request("GET", f"/v1/jobs/{each}", headers=headers) for each in made]


async def _hold(darkroom: Darkroom, asked: bytes) -> list[Figure]:
    """Hold many clients in `?wait`; returns what each costs in memory, and all of them in queries."""
    (process,) = darkroom.processes["api"]
    waiting = asked.replace(b" HTTP/1.1", b"?wait=60 HTTP/1.1", 1)
    before = process.memory
    asked_for = iter(repeat(waiting, _HELD))
    held = asyncio.create_task(
        client.pace(darkroom.port, asked_for, per_second=_COMING, connections=_HELD)
    )
    await asyncio.sleep(_HELD / _COMING + 2)  # all have asked by then: 2,000 reads
    memory = process.memory - before
    with _no_vacuum(darkroom):
        await asyncio.sleep(_COUNTED)
        counted = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        start = darkroom.number(counted)
        await asyncio.sleep(_WATCHED)
        queries = darkroom.number(counted) - start
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)
    return [
        Figure("a client in ?wait, of 2,000", "", memory / _HELD / 1024, 32.0, "less", " KB"),
        # Two of them at most are of the sessions that count.
        Figure("transactions of 2,000 clients in ?wait, per 5 s", "",
               max(queries - 2, 0) / _WATCHED * 5, 1.5, "less"),
    ]  # fmt: skip


@contextmanager
def _no_vacuum(darkroom: Darkroom) -> Iterator[None]:
    """Keep PostgreSQL from vacuuming and analyzing by itself: its transactions count as anybody's."""
    darkroom.execute("ALTER SYSTEM SET autovacuum = off")
    darkroom.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        darkroom.execute("ALTER SYSTEM RESET autovacuum")
        darkroom.execute("SELECT pg_reload_conf()")
