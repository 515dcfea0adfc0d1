"""The customers: they submit with idempotency keys, ask again when an answer is lost, wait and cancel.

What a customer does with the n-th job is drawn from the seed and n. A client that gets no answer, or a
503, sends the same request with the same key to any api until it has one, as the documentation asks.
"""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

import httpx

from tests.e2e.chaos.plan import Plan
from tests.e2e.shapes import Job
from tests.e2e.stage import MODEL, TERMINAL, Stage

_PATIENCE = 240.0  # seconds that a client goes on asking: longer than anything is away
_AGAIN = 0.3  # seconds until it asks again
_HELD = 15  # seconds of a long poll
_SHARED = 3  # prompts that jobs with `reuse: exact` have between them


@dataclass
class Said:
    """What the clients were told, under one lock."""

    answers: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    wrong: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)  # idempotency key → job
    ended: dict[str, str] = field(default_factory=dict)  # job → the terminal state that was told
    posts: list[tuple[float, float]] = field(default_factory=list)  # when, and for how long
    submitted: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Load:
    """A few clients at once. `allowed` is how many jobs may have been submitted by now."""

    def __init__(self, stage: Stage, plan: Plan, urls: list[str]) -> None:
        self.said, self.allowed = Said(), 0.0
        self._stage, self._plan, self._urls = stage, plan, urls
        self._next = 0
        self._never = threading.Event()
        limits = httpx.Limits(max_connections=plan.clients, max_keepalive_connections=plan.clients)
        self._http = httpx.Client(
            headers={"authorization": f"Bearer {stage.key}"}, timeout=70, trust_env=False,
            limits=limits,
        )  # fmt: skip
        self._pool = ThreadPoolExecutor(plan.clients, thread_name_prefix="client")
        self._clients = [self._pool.submit(self._work) for _ in range(plan.clients)]

    @property
    def done(self) -> bool:
        """Whether every client has gone home; raises what a client has met."""
        for client in self._clients:
            if client.done():
                client.result()
        return all(client.done() for client in self._clients)

    def close(self) -> None:
        """Send the clients home."""
        self._next = self._plan.jobs
        self._never.set()
        self._pool.shutdown()
        self._http.close()

    def _work(self) -> None:
        while not self._never.is_set():
            with self.said.lock:
                number = self._next
                ready = number < min(self._plan.jobs, self.allowed)
                self._next += ready
            if ready:
                self._have_made(number)
            elif number >= self._plan.jobs:
                return
            else:
                self._never.wait(0.05)

    def _have_made(self, number: int) -> None:
        """One job from the submission to whatever its customer does with it."""
        random = Random(f"{self._plan.seed} {number}")  # noqa: S311  # what customers do, no secret
        key, body = f"order-{self._plan.seed}-{number}", self._body(random, number)
        job_id = self._submit(key, body)
        if job_id is None:
            return
        dice = random.random()
        if dice < 0.40:
            self._look(job_id, wait=_HELD)
        elif dice < 0.50:
            self._never.wait(random.uniform(0, 2))
            self._ask("POST", f"/v1/jobs/{job_id}/cancel")
            self._look(job_id, wait=_HELD)
        elif dice < 0.60:
            self._submit(key, body)
        elif dice < 0.65:
            self._look(job_id, wait=0)

    def _body(self, random: Random, number: int) -> dict[str, object]:
        shared = random.random() < 0.06
        prompt = f"one of {random.randrange(_SHARED)}" if shared else f"picture {number}"
        return {
            "input": {
                "model": MODEL,
                "prompt": prompt,
                "image_size": {"width": 1920, "height": 1920},
            },
            "webhook": {"url": self._stage.receiver.url},
            "on_unknown_charge": random.choices(("retry", "wait", "fail"), (8, 1, 1))[0],
            "priority": random.choice(("interactive", "standard", "bulk")),
            "reuse": "exact" if shared else "never",
        }

    def _submit(self, key: str, body: dict[str, object]) -> str | None:
        began = time.monotonic()
        answer = self._ask("POST", "/v1/jobs", json=body, headers={"idempotency-key": key})
        if answer is None:
            return None
        said = self.said
        with said.lock:
            said.posts.append((began, time.monotonic() - began))
            if not answer.is_success:
                said.wrong.append(f"{key}: {answer.status_code} {answer.text[:200]}")
                return None
            job_id = str(answer.json()["id"])
            if said.keys.setdefault(key, job_id) != job_id:
                said.wrong.append(f"{key}: two jobs, {said.keys[key]} and {job_id}")
            if job_id not in self._stage.accepted:
                self._stage.accepted.append(job_id)
            said.submitted = len(said.keys)
        return job_id

    def _look(self, job_id: str, wait: int) -> None:
        answer = self._ask("GET", f"/v1/jobs/{job_id}", params={"wait": wait})
        if answer is None:
            return
        if not answer.is_success:
            self._note(f"{job_id}: {answer.status_code} {answer.text[:200]}")
            return
        job = Job.model_validate(answer.json())
        if job.status in TERMINAL:
            with self.said.lock:
                self.said.ended[job_id] = job.status

    def _ask(self, method: str, path: str, **request: object) -> httpx.Response | None:
        """Send a request until it is answered with anything but 503; None when the play is over."""
        deadline = time.monotonic() + _PATIENCE
        while not self._never.is_set():
            url = self._urls[threading.get_ident() % 7 % len(self._urls)]
            answer = self._once(method, url + path, request)
            if answer is not None:
                return answer
            if time.monotonic() > deadline:
                self._note(f"{method} {path}: no answer within {_PATIENCE:g} s")
                return None
            self._urls = [*self._urls[1:], self._urls[0]]  # the next one, as a balancer does
            self._never.wait(_AGAIN)
        return None

    def _once(self, method: str, url: str, request: dict[str, object]) -> httpx.Response | None:
        try:
            answer = self._http.request(method, url, **request)  # type: ignore[arg-type]  # what `_ask` was given
        except httpx.TransportError:
            with self.said.lock:
                self.said.unanswered += 1
            return None
        with self.said.lock:
            self.said.answers[answer.status_code] += 1
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            if not answer.headers.get("retry-after", "").isdecimal():
                self._note(f"503 without Retry-After: {method} {url}")
            return None
        if answer.is_server_error:
            self._note(f"{method} {url}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer

    def _note(self, wrong: str) -> None:
        with self.said.lock:
            self.said.wrong.append(wrong)
