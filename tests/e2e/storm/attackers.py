"""The hostile project's side of a storm, in a process of its own.

It is a client: on a customer's machine it would take none of the servers' CPU. Here all share one machine,
so it is as nice as can be and takes only what the servers leave, and each attack asks at a pace
(`Hostile.rate`). Otherwise one measures how two cores are shared with the attackers, which no server can
help. The pace that it reached is the answers that it got, divided by its time.
"""

import multiprocessing
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

import httpx

from tests.conftest import PLAIN
from tests.e2e.storm import attacks, sockets
from tests.e2e.storm.attacks import Hostile
from tests.e2e.storm.cores import yield_to_others

_DEAF = 100  # receivers; each is an origin of its own
_BACKLOG = 256  # connections that one of them leaves waiting
_PATIENCE = 90.0  # seconds for each attack to end: a request of its own may take 60
_START = 120.0  # to begin: so nice a process has little time to import what it needs
_LAST = 30.0  # and to say what became of them

ATTACKS: Mapping[str, Callable[[Hostile], None]] = {
    each.__name__: each
    for each in (
        *(attacks.hanging_origins, attacks.pings, attacks.endpoints, attacks.followers),
        *(attacks.soft_budgets, attacks.backlog, attacks.gate_closers, attacks.references),
        *(attacks.slow_lists, attacks.garbage_keys, attacks.nobody_home),
        *(sockets.announced_bodies, sockets.endless_heads, sockets.half_sent),
    )
}
CONTROL = "nobody_home"  # beside this one a figure is the machine's


@dataclass(frozen=True)
class Plan:
    """Which attacks, how much of each, how many requests of each a second, and how nice they are."""

    attacks: Sequence[str]
    amount: int
    rate: float
    nice: int = 19


@contextmanager
def attacking(url: str, key: str, plan: Plan) -> Iterator[tuple[Counter[str], int]]:
    """Attack until the block ends; returns what it was told, counted by then, and its process's id.

    The block begins when the attacks have.
    """
    spawning = multiprocessing.get_context("spawn")  # no thread of ours is in there
    over, (ours, theirs), told = spawning.Event(), spawning.Pipe(), Counter[str]()
    process = spawning.Process(target=_attack, args=(url, key, plan, over, theirs))
    process.start()
    failed: list[str] = []
    try:
        assert ours.poll(_START), f"the attackers have not begun; exit code {process.exitcode}"
        ours.recv()
        yield told, process.pid or 0
    finally:
        over.set()
        if ours.poll(_PATIENCE + _LAST):
            answers, failed = ours.recv()
            told.update(answers)
        else:
            failed.append(f"the attackers have said nothing; exit code {process.exitcode}")
        # All is said: where the machine is busy, so nice a process takes minutes to end by itself.
        process.kill()
        process.join()
    assert not failed, f"attacks have failed: {'; '.join(failed)}"


def _attack(url: str, key: str, plan: Plan, over: Event, telling: Connection) -> None:
    yield_to_others(plan.nice)
    with ExitStack() as stack:
        deaf = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG))
            for _ in range(_DEAF)
        ]
        client = stack.enter_context(
            httpx.Client(
                base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=60,
                trust_env=False, verify=PLAIN,
            )
        )  # fmt: skip
        urls = [f"http://127.0.0.1:{each.getsockname()[1]}" for each in deaf]
        hostile = Hostile(client, urls, plan.amount, plan.rate, over)
        pool = stack.enter_context(ThreadPoolExecutor(len(plan.attacks)))
        begun = {name: pool.submit(ATTACKS[name], hostile) for name in plan.attacks}
        telling.send("begun")
        over.wait()
        wait(begun.values(), _PATIENCE)
        telling.send((dict(hostile.told), list(_failures(begun))))
        client.close()  # whoever still waits for an answer waits no more


def _failures(begun: Mapping[str, Future[None]]) -> Iterator[str]:
    """Say which attacks have failed, and why; one that has not ended is one of them."""
    for name, attack in begun.items():
        if not attack.done():
            yield f"{name}: it goes on though the storm is over"
        elif (error := attack.exception()) is not None:
            sys.stderr.writelines(traceback.format_exception(error))
            yield f"{name}: {type(error).__name__}: {error}"
