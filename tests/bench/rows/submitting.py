"""How many jobs per second one api process accepts, beside simpler programs that promise less."""

import json
from collections.abc import Iterator
from itertools import count

import httpx

from deploy.local import ports
from tests.bench import client
from tests.bench.figures import Figure
from tests.bench.ground import INPUT, Darkroom, Ground

_ROUNDS, _CONNECTIONS = 3, 16
_PACE, _LATE = 200, 0.025  # requests per second, and the seconds that 99 % of them may take


_LIMIT = (
    "a third of its CPU is what uvicorn and FastAPI take for any request, a seventh the key and the body, "
    "a seventh the rules of the input and its fingerprint, a tenth its part of the statement, a tenth the "
    "answer. The peer checks nothing and writes one row in one table"
)
_NUMBERS = count()


async def measure(ground: Ground) -> list[Figure]:
    """Press on all in turns, so that a noisy moment meets each of them."""
    each = 6_000 if ground.full else 2_000
    bare, lazy = ports.pick(), ports.pick()
    with (
        ground.database() as ours, ground.database() as capped, ground.database(None) as theirs,
    ):  # fmt: skip
        async with (
            ground.darkroom(ours, "api") as darkroom,
            ground.darkroom(capped, "api") as budgeted,
            ground.peer("bare.py", str(bare), theirs, port=bare),
            ground.peer("lazy.py", str(lazy), theirs, ground.redis, port=lazy),
        ):
            _budget(budgeted)
            at = {
                "darkroom": (darkroom.port, darkroom.headers),
                "budget": (budgeted.port, budgeted.headers),
                "bare": (bare, {}),
                "lazy": (lazy, {}),
            }
            best: dict[str, float] = dict.fromkeys(at, 0.0)
            for turn in range(_ROUNDS + 1):
                for name, (port, headers) in at.items():
                    n = each if turn else each // 10  # the first round warms up
                    load = await client.press(
                        port, submissions(n, headers), connections=_CONNECTIONS
                    )
                    best[name] = max(best[name], load.demand(202).rate if turn else 0.0)
            paced = await client.pace(
                darkroom.port, submissions(each, darkroom.headers),
                per_second=_PACE, connections=_CONNECTIONS,
            )  # fmt: skip
            late = paced.demand(202).quantile(0.99)
    raw = {name: f"{rate:,.0f}/s" for name, rate in best.items()}
    return [
        Figure("POST /v1/jobs, rate, of a bare API", "bare FastAPI + one psycopg INSERT",
               best["darkroom"] / best["bare"], 0.7, "more",
               raw=f"{raw['darkroom']} : {raw['bare']}", note=_LIMIT),
        Figure("POST /v1/jobs, rate, of the usual way", "FastAPI + ORM + Celery .delay()",
               best["darkroom"] / best["lazy"], 2.0, "more",
               raw=f"{raw['darkroom']} : {raw['lazy']}"),
        Figure("POST /v1/jobs, p99 at 200/s", "", 1000 * late, 1000 * _LATE, "less", " ms"),
        Figure("POST /v1/jobs with a hard budget", "the same without",
               best["budget"] / best["darkroom"], 0.8, "more",
               raw=f"{raw['budget']} : {raw['darkroom']}"),
    ]  # fmt: skip


def submissions(
    n: int, headers: dict[str, str], extra: dict[str, object] | None = None
) -> Iterator[bytes]:
    """Write `n` submissions, each with an Idempotency-Key of its own."""
    body = json.dumps({"input": INPUT, "metadata": {"order": "A-17"}} | (extra or {})).encode()
    for _ in range(n):
        fields = headers | {"idempotency-key": f"bench-{next(_NUMBERS)}"}
        yield client.request("POST", "/v1/jobs", body=body, headers=fields)


def _budget(darkroom: Darkroom) -> None:
    """Put a hard budget with room for everything on the project."""
    rule = {"window": "day", "timezone": "UTC", "limit": 1 << 52, "mode": "hard"}
    answer = httpx.put(f"{darkroom.url}/v1/budgets", json=rule, headers=darkroom.headers)
    answer.raise_for_status()
