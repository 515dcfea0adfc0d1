"""What a hostile project does: each attack makes `amount` of something, or as many as it is let.

None of them costs it a credit, but for the jobs that it lets run.
"""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx

from tests.conftest import PLAIN
from tests.e2e.stage import MODEL

_DEAF = 100  # receivers; each is an origin of its own
_BACKLOG = 256  # connections that one of them leaves waiting


@dataclass
class Hostile:
    """The hostile project: a client with its key, receivers that never answer, and what it was told."""

    client: httpx.Client
    deaf: list[str]
    amount: int
    told: Counter[int] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def ask(self, method: str, path: str, json: object = None) -> httpx.Response:
        """Ask, and count the status of the answer."""
        answer = self.client.request(method, path, json=json)
        self.told[answer.status_code] += 1
        return answer

    def submit(self, prompt: str, **fields: object) -> str | None:
        """Submit a job; gives its id, or None when it was refused."""
        body = {"input": {"model": MODEL, "prompt": prompt}} | fields
        answer = self.ask("POST", "/v1/jobs", body)
        return str(answer.json()["id"]) if answer.is_success else None

    def turns(self) -> Iterator[int]:
        """Count to the amount, or until the storm is over."""
        for n in range(self.amount):
            if self.over.is_set():
                return
            yield n


def hanging_origins(hostile: Hostile) -> None:
    """Submit jobs and cancel them at once; each is to be told at an origin that hangs."""
    for n in hostile.turns():
        url = f"{hostile.deaf[n % len(hostile.deaf)]}/{n}"
        job_id = hostile.submit(f"never made {n}", webhook={"url": url})
        if job_id is not None:
            hostile.ask("POST", f"/v1/jobs/{job_id}/cancel")


def pings(hostile: Hostile) -> None:
    """Ping an endpoint that hangs, again and again."""
    made = hostile.ask("POST", "/v1/webhooks", {"url": f"{hostile.deaf[0]}/ping"})
    if made.is_success:
        for _ in hostile.turns():
            hostile.ask("POST", f"/v1/webhooks/{made.json()['id']}/test?wait=0")


def endpoints(hostile: Hostile) -> None:
    """Register endpoints that hang, as many as may be, and let every event go to all of them."""
    for n in hostile.turns():
        url = f"{hostile.deaf[n % len(hostile.deaf)]}/endpoint/{n}"
        if not hostile.ask("POST", "/v1/webhooks", {"url": url}).is_success:
            break
    for n in range(10):
        job_id = hostile.submit(f"told to all {n}")
        if job_id is not None:
            hostile.ask("POST", f"/v1/jobs/{job_id}/cancel")


def followers(hostile: Hostile) -> None:
    """Submit the same job again and again, so that all of them end with the first."""
    for _ in hostile.turns():
        hostile.submit("the same for all", reuse="exact")


def soft_budgets(hostile: Hostile) -> None:
    """Make budgets that refuse nothing."""
    for n in hostile.turns():
        rule = {"scope": "customer", "customer": f"c_{n}", "window": "day", "limit": 1}
        if not hostile.ask("PUT", "/v1/budgets", rule | {"mode": "soft"}).is_success:
            break


def backlog(hostile: Hostile) -> None:
    """Submit jobs that are to be made."""
    for n in hostile.turns():
        hostile.submit(f"one of very many {n}")


ATTACKS: Mapping[str, Callable[[Hostile], None]] = {
    each.__name__: each
    for each in (hanging_origins, pings, endpoints, followers, soft_budgets, backlog)
}


@contextmanager
def arrived(url: str, key: str, amount: int) -> Iterator[Hostile]:
    """Give the hostile project; its receivers take connections, and never say a word."""
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
        yield Hostile(client, urls, amount)
