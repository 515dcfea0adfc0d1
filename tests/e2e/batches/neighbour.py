"""Another project beside a batch: it posts a job now and then, and notes how long each answer takes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.conftest import PLAIN
from tests.e2e.stage import MODEL, eventually

_EVERY = 0.1  # seconds from one POST to the next
_WARM = 10  # posts that nobody counts: the first of a process compile statements


@dataclass
class Neighbour:
    """The project's client, and the seconds that its POSTs took since it was last asked."""

    client: httpx.Client
    posts: list[float] = field(default_factory=list)

    def seen(self, until: int) -> list[float]:
        """Return what was noted since the last look, when there are so many at least."""
        eventually(lambda: len(self.posts) >= until, f"{until} POSTs of the neighbour", 120)
        taken, self.posts = self.posts, []
        return taken

    def go_on(self, over: threading.Event) -> None:
        """Post until it is over."""
        while not over.wait(_EVERY):
            began = time.monotonic()
            answer = self.client.post(
                "/v1/jobs", json={"input": {"model": MODEL, "prompt": "a quiet lake"}}
            )
            self.posts.append(time.monotonic() - began)
            assert answer.status_code == 202, answer.text


@contextmanager
def beside(url: str, key: str) -> Iterator[Neighbour]:
    """Return a neighbour who posts until the block ends."""
    headers, over = {"authorization": f"Bearer {key}"}, threading.Event()
    with httpx.Client(base_url=url, headers=headers, trust_env=False, verify=PLAIN) as client:
        neighbour = Neighbour(client)
        posting = threading.Thread(target=neighbour.go_on, args=(over,))
        posting.start()
        try:
            neighbour.seen(_WARM)
            yield neighbour
        finally:
            over.set()
            posting.join()


def p95(values: list[float]) -> float:
    """Return the value that one in twenty is above."""
    return sorted(values)[int(len(values) * 0.95)]
