"""What a hostile project does: each attack makes `amount` of something, or as many as it is let.

None of them costs it a credit, but for the jobs that it lets run.
"""

import threading
import time
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, takewhile
from multiprocessing.synchronize import Event

import httpx

from models.accounts.api_keys import new_key
from tests.e2e.stage import MODEL
from tests.fixtures.drawing import chunk, png_with

_UNPACKED = 48 * 1024 * 1024  # bytes of text in a picture of as many kilobytes
_ROWS = 100  # of a list, the most that may be asked for


@dataclass
class Hostile:
    """The hostile project: a client with its key, receivers that never answer, and what it was told."""

    client: httpx.Client
    deaf: list[str]
    amount: int
    rate: float  # requests, or connections, a second that each attack begins at most
    over: Event
    told: Counter[str] = field(default_factory=Counter)  # statuses, and how connections ended
    _last: threading.local = field(default_factory=threading.local)  # an attack has a thread

    def pace(self) -> None:
        """Wait until this attack may ask again; time that it lost is not made up for."""
        due = getattr(self._last, "at", 0.0) + 1 / self.rate
        self.over.wait(max(due - time.monotonic(), 0))
        self._last.at = time.monotonic()

    def ask(
        self, method: str, path: str, json: object = None, key: str | None = None
    ) -> httpx.Response:
        """Ask, with its own key if none is given, and count what came of it.

        To be shut out, or to wait in vain, is what an attacker must expect: then the status is 0.
        """
        self.pace()
        headers = None if key is None else {"authorization": f"Bearer {key}"}
        try:
            answer = self.client.request(method, path, json=json, headers=headers)
        except httpx.TransportError as ended:
            self.told[type(ended).__name__] += 1
            return httpx.Response(0)
        self.told[str(answer.status_code)] += 1
        return answer

    def submit(self, prompt: str, **fields: object) -> str | None:
        """Submit a job; returns its id, or None when it was refused."""
        body = {"input": {"model": MODEL, "prompt": prompt}} | fields
        answer = self.ask("POST", "/v1/jobs", body)
        return str(answer.json()["id"]) if answer.is_success else None

    def ceaselessly(self) -> Iterator[int]:
        """Count until the storm is over: for what leaves nothing behind."""
        return takewhile(lambda _: not self.over.is_set(), count())

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
    for n in takewhile(lambda _: not hostile.over.is_set(), range(10)):
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


def gate_closers(hostile: Hostile) -> None:
    """Submit prompts that the provider's edge refuses, and such as it fails at."""
    for n in hostile.turns():
        hostile.submit(f"refused {n} [sim: {('403_html', '500')[n % 2]}]")


def references(hostile: Hostile) -> None:
    """Bring pictures whose texts are a thousand times as large as they are."""
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(_UNPACKED), 9))
    picture = b64encode(png_with(bomb)).decode()
    for n in hostile.ceaselessly():
        url = f"data:image/png;base64,{picture}"
        body = {"model": MODEL, "prompt": f"like this {n}", "image_urls": [url]}
        hostile.ask("POST", "/v1/quotes", {"input": body})


def slow_lists(hostile: Hostile) -> None:
    """Ask for lists that look at everything and find nothing."""
    for n in hostile.ceaselessly():
        hostile.ask("GET", f"/v1/jobs?limit={_ROWS}&tag=none:{n}")
        hostile.ask("GET", "/v1/usage?group_by=day,model,tag,customer")


def garbage_keys(hostile: Hostile) -> None:
    """Ask with keys that look right and belong to nobody."""
    for _ in hostile.ceaselessly():
        hostile.ask("GET", "/v1/jobs", key=new_key())


def nobody_home(hostile: Hostile) -> None:
    """Ask for paths that do not exist: no attack, but what requests alone cost a machine that all share."""
    for n in hostile.ceaselessly():
        hostile.ask("GET", f"/nothing/{n}")
