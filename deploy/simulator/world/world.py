"""One simulated account: settings, money, calls and images, and how they survive a restart."""

import hashlib
from collections import deque
from random import Random

from aiohttp import web

from deploy.simulator import config as configs
from deploy.simulator import scenarios
from deploy.simulator.config import CREDITS_PER_USD, Config
from deploy.simulator.journal import Journal, Json
from deploy.simulator.pictures import Images
from deploy.simulator.scenarios import Play
from deploy.simulator.world.calls import Call, Calls
from deploy.simulator.world.money import Wallet


class World:
    """Everything a running simulator knows.

    `config` is frozen and replaced as a whole; `log_requests` are the times of the last minute's
    requests to /v2/logs, by the event loop's clock; `account_requests` counts those to every
    account route.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.journal = Journal(config.data)
        self.wallet = Wallet(self.journal)
        self.calls = Calls(self.journal)
        self.images = Images(self.journal)
        self.images.pictures = config.pictures
        self.in_flight = 0
        self.peak_in_flight = 0
        self.log_requests: deque[float] = deque()
        self.account_requests = 0
        self._random = Random(config.seed)  # noqa: S311  # dice for failures, not secrets
        self._times = Random(config.seed)  # noqa: S311  # apart, so that failures do not depend on it
        self._retired: set[str] = set()
        self._replay()
        if not self.wallet.entries:
            self.wallet.move(round(config.balance_usd * CREDITS_PER_USD), "INIT")

    def change(self, body: Json) -> None:
        """Change settings at run time; raises `ValueError`.

        A key that is replaced can still read the account, and not generate any more.
        """
        before = self.config.key
        self.config = configs.changed(self.config, body)
        self.images.pictures = self.config.pictures
        if self.config.key != before:
            self._retired.add(before)
        self._retired.discard(self.config.key)

    def admits(self, authorization: str | None, *, retired: bool = False) -> str | None:
        """Return the key of an `Authorization` header, or None; `retired` lets old keys in."""
        scheme, _, key = (authorization or "").partition(" ")
        known = key == self.config.key or (retired and key in self._retired)
        return key if scheme.lower() == "bearer" and known else None

    def enter(self) -> bool:
        """Take a place among the calls in flight; return False when the limit is reached."""
        if self.config.limit is not None and self.in_flight >= self.config.limit:
            return False
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        return True

    def leave(self) -> None:
        """Give the place back."""
        self.in_flight -= 1

    def latency(self) -> float:
        """Draw the seconds that a call takes."""
        most = self.config.spread
        return self.config.latency * (1 + self._times.uniform(-most, most))

    def choose(self, call: Call, header: str | None, prompt: str) -> Play:
        """Choose what happens to this call; raises `UnknownScenarioError`.

        A script is counted by job: the client request id without its last `:n`, or else the prompt.
        """
        script = scenarios.script_of(header, prompt)
        if not script:
            return scenarios.draw(self.config.rates, self._random)
        turn = self.calls.next_play(call, _job_of(call.client_request_id, prompt))
        return script[min(turn, len(script) - 1)]

    def close(self) -> None:
        """Close the journal and let the painters go."""
        self.images.close()
        self.journal.close()

    def _replay(self) -> None:
        for line in self.journal.replay():
            if line["kind"] == "image":
                self.images.restore(line)
                continue
            if line["kind"] == "entry":
                self.wallet.restore(line)
            self.calls.restore(line)


def _job_of(client_request_id: str | None, prompt: str) -> str:
    if client_request_id is None:
        return hashlib.sha256(prompt.encode(errors="replace")).hexdigest()[:32]
    job, _, attempt = client_request_id.rpartition(":")
    return job if job and attempt.isdigit() else client_request_id


WORLD = web.AppKey("world", World)
