"""Webhooks by the thousand: to receivers that misbehave, from workers that die, across a rotation.

Short in `make test`; the long one is `make webhooks`, which asks for 2,000 jobs and 100 endpoints, with
the time-outs of the product.
"""

import asyncio
import itertools
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from statistics import quantiles
from typing import Self

import httpx
import pytest
from pydantic import BaseModel

from deploy.local.servers import valkey
from models.platform.db import Database
from models.platform.vault import Vault
from tests.conftest import make_project
from tests.e2e import hostile
from tests.e2e import stage as stages
from tests.e2e.hostile import Crowd, Hit, Way
from tests.e2e.shapes import Job
from tests.e2e.stage import MODEL, Actor, Stage, eventually

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

LONG = 600.0  # seconds: what the long run may take for one of its parts
_LONG_RUN = 1_000  # jobs, from which on nobody waits for the result

# Five endpoints that misbehave, each of another project; beside them everybody is well.
WAYS: tuple[Way, ...] = ("hang", "fail", "gone", "drip", "redirect")
TIMEOUT = 3.0  # seconds, so that the short run sees the end of what hangs

# A dead worker's deliveries come back within seconds.
HASTY = {
    "DARKROOM_DELIVERY_LEASE": "2",
    "DARKROOM_WEBHOOK_TIMEOUT": "1.5",
    "DARKROOM_HEARTBEAT": "0.3",
    "DARKROOM_WORKER_SEEN": "1",
}


class TryResult(BaseModel):
    """One try, as the log shows it."""

    http_status: int | None
    result: str


class Delivery(BaseModel):
    """One delivery, as the log shows it."""

    job_id: str | None
    state: str
    tries: list[TryResult]


class Ended(BaseModel):
    """When a job ended, as its webhook says."""

    finished_at: datetime


class Told(BaseModel):
    """A webhook's body, read for the moment it tells of."""

    data: Ended


@dataclass(frozen=True)
class Endpoint:
    """A registered endpoint; `path` is its place in the crowd."""

    id: str
    path: str
    secret: str


@dataclass(frozen=True, eq=False)
class Project:
    """A customer, with an API key of his own."""

    client: httpx.Client

    def register(self, crowd: Crowd, *events: str) -> Endpoint:
        """Register one more endpoint, through the API."""
        path = f"/{secrets.token_hex(4)}"
        body = {"url": crowd.url + path, "events": events}
        answer = self.client.post("/v1/webhooks", json=body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        return Endpoint(made["id"], path, made["secret"])

    def submit(self) -> str:
        """Submit a job; returns its id."""
        body = {"input": {"model": MODEL, "prompt": "a red bicycle"}}
        answer = self.client.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return Job.model_validate(answer.json()).id

    def rotate(self, endpoint: Endpoint) -> str:
        """Rotate an endpoint's secret; returns the new one."""
        answer = self.client.post(f"/v1/webhooks/{endpoint.id}/rotate")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["secret"])

    def log(self, endpoint: Endpoint) -> list[Delivery]:
        """Read the whole log of an endpoint."""
        found: list[Delivery] = []
        query: dict[str, str | int] = {"limit": 100}
        while True:
            answer = self.client.get(f"/v1/webhooks/{endpoint.id}/deliveries", params=query)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += [Delivery.model_validate(each) for each in page["data"]]
            if not page["has_more"]:
                return found
            query["cursor"] = page["next_cursor"]


@dataclass(frozen=True)
class Town:
    """Projects with their endpoints, of which five may misbehave, each of another project."""

    crowd: Crowd
    well: list[tuple[Project, Endpoint]]
    bad: dict[Way, tuple[Project, Endpoint]]
    jobs: dict[Project, list[str]]

    @classmethod
    def settle(cls, crowd: Crowd, projects: list[Project], count: int) -> Self:
        """Register `count` endpoints, as many for each project."""
        ears = [(each, each.register(crowd)) for each in projects * (count // len(projects))]
        bad = dict(zip(WAYS, ears, strict=False))
        return cls(crowd, ears[len(WAYS) :], bad, {each: [] for each in projects})

    def live(self, word: str, ways: Iterable[Way], count: int, pace: float) -> str:
        """Submit jobs until those that are well have every event; returns how long a webhook took."""
        self.crowd.ways = {self.bad[way][1].path: way for way in ways}
        before = len(self.crowd.hits)
        for each, job_id in _submit(itertools.cycle(self.jobs), count, pace):
            self.jobs[each].append(job_id)
        eventually(self._complete, f"{word}: every endpoint that is well has every event", LONG)
        paths = {ear.path for _, ear in self.well}
        took = [_delay(hit) for hit in self.crowd.hits[before:] if hit.path in paths]
        half, most = quantiles(took, n=20)[9], quantiles(took, n=20)[18]
        return f"{word} p50 {half:.0f} ms, p95 {most:.0f} ms"

    def _complete(self) -> bool:
        heard: dict[str, set[str]] = {}
        for hit in list(self.crowd.hits):
            heard.setdefault(hit.path, set()).add(hit.id)
        return all(len(heard.get(ear.path, ())) >= len(self.jobs[each]) for each, ear in self.well)


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    """The receivers."""
    with hostile.gathered() as gathered:
        yield gathered


@pytest.fixture(scope="module")
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres_server: str
) -> Iterator[Stage]:
    """A Darkroom with slots for webhooks as by default; only the short run has short time-outs."""
    folder = tmp_path_factory.mktemp("webhooks")
    patient = request.config.getoption("--webhook-jobs") >= _LONG_RUN
    environment = {
        "DARKROOM_DELIVER_SLOTS": "32",
        "DARKROOM_ENDPOINTS_MAX": "100",
        "DARKROOM_WEBHOOK_TIMEOUT": "15" if patient else str(TIMEOUT),
        "DARKROOM_DELIVERY_LEASE": "30" if patient else "5",
    }
    with (
        valkey.serve(folder / "valkey") as redis,
        stages.opened(folder, postgres_server, redis.url, environment) as opened,
    ):
        opened.start("simulator", "api", "dispatcher", "worker")
        opened.top_up(usd=1_000)  # for more images than the simulated wallet is good for
        yield opened


@pytest.fixture
def project(stage: Stage) -> Iterator[Callable[[], Project]]:
    """Make projects."""
    with ExitStack() as clients:

        def make() -> Project:
            client = httpx.Client(base_url=stage.client.base_url, timeout=30, trust_env=False)
            client.headers["authorization"] = f"Bearer {asyncio.run(_key(stage))}"
            return Project(clients.enter_context(client))

        yield make


@pytest.mark.timeout(1800)
def test_every_event_reaches_who_listens_and_the_log_explains_the_others(
    stage: Stage,
    crowd: Crowd,
    project: Callable[[], Project],
    request: pytest.FixtureRequest,
) -> None:
    jobs, count = (request.config.getoption(f"--{name}") for name in ("webhook-jobs", "endpoints"))
    town = Town.settle(crowd, [project() for _ in range(max(count // 5, len(WAYS) + 1))], count)

    took = [
        town.live(word, ways, n, request.config.getoption("--pace"))
        for word, ways, n in (
            ("all are well", (), jobs // 10),
            ("one hangs", WAYS[:1], jobs // 10),
            ("five misbehave", WAYS, jobs - 2 * (jobs // 10)),
        )
    ]

    for each, ear in town.well:
        heard = crowd.of(ear.path)
        assert {hit.event.data.id for hit in heard} == set(town.jobs[each])
        assert {hit.event.type for hit in heard} == {"job.succeeded"}
    for _, ear in (*town.well, *town.bad.values()):
        assert all(hit.verifies(ear.secret) for hit in crowd.of(ear.path))
    assert crowd.strayed == 0
    for way, (each, ear) in town.bad.items():
        _explained(way, each, ear, town.jobs[each])
    each, ear = town.bad["gone"]
    gone = each.client.get(f"/v1/webhooks/{ear.id}").json()
    assert (gone["enabled"], gone["disabled_reason"]) == (False, "410 Gone")
    deliveries = stage.number("SELECT count(*) FROM deliveries")
    _quote(
        f"{sum(map(len, town.jobs.values()))} jobs, {len(town.well) + len(town.bad)} endpoints, "
        f"{deliveries} deliveries; job's end to receipt, where all is well: {'; '.join(took)}"
    )


@pytest.mark.timeout(900)
def test_no_delivery_across_a_rotation_is_signed_with_neither_secret(
    stage: Stage,
    crowd: Crowd,
    project: Callable[[], Project],
    request: pytest.FixtureRequest,
) -> None:
    count, pace = (request.config.getoption(f"--{name}") for name in ("events", "pace"))
    part, jobs = count // 6, list[str]()  # three parts, and each job has two events
    customer = project()
    ear = customer.register(crowd, "job.running", "job.succeeded")
    keys, marks = [ear.secret], [0]
    for nth in range(3):
        with ThreadPoolExecutor(1) as submitting:
            stream = submitting.submit(_submit, itertools.repeat(customer), part, pace)
            if nth > 0:
                _wait_for(crowd, ear, 2 * len(jobs) + part // 2)
                keys.append(customer.rotate(ear))
                _wait_for_what_was_signed(stage)
                marks.append(len(crowd.of(ear.path)))
            jobs += [job_id for _, job_id in stream.result()]
        _wait_for(crowd, ear, 2 * len(jobs))

    hits = crowd.of(ear.path)
    assert {hit.event.data.id for hit in hits} == set(jobs)
    # Who has not heard of a rotation can verify all that comes, and who has, what came from then on.
    assert all(hit.verifies(keys[0]) for hit in hits)
    for key, mark in zip(keys, marks, strict=True):
        assert all(hit.verifies(key) for hit in hits[mark:])
    assert not hits[0].verifies(keys[1])
    assert hits[-1].verifies(keys[2])


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_event_is_lost_with_the_workers_that_send_it(
    stage: Stage,
    crowd: Crowd,
    project: Callable[[], Project],
    request: pytest.FixtureRequest,
) -> None:
    count, deaths = (request.config.getoption(f"--{name}") for name in ("events", "deaths"))
    stage.actor("worker").kill()
    customer = project()
    ear = customer.register(crowd, "job.canceled")
    with ThreadPoolExecutor(4) as clients:
        jobs = list(clients.map(lambda _: _cancel(customer), range(count)))

    moments = itertools.cycle(("received", "connected", "answered"))
    for nth, moment in zip(range(deaths), moments, strict=False):
        (worker,) = stage.start("worker", environment=HASTY)
        with _dying(crowd, worker, moment, ear.path, count * nth // (deaths + 1)):
            eventually(lambda: worker.process.poll() is not None, "the worker is dead", LONG)  # noqa: B023 - called at once
    stage.start("worker", environment=HASTY)
    eventually(
        lambda: {each.state for each in customer.log(ear)} == {"delivered"},
        "all is delivered",
        LONG,
    )

    hits = crowd.of(ear.path)
    assert sorted({hit.event.data.id for hit in hits}) == sorted(jobs)
    assert len({hit.id for hit in hits}) == len(jobs)
    assert len({(hit.id, hit.body) for hit in hits}) == len(jobs), "the same bytes on every try"
    assert all(hit.verifies(ear.secret) for hit in hits)
    again = len(hits) - len(jobs)
    assert again >= deaths // 3, "no worker died with a webhook on its way"
    _quote(f"{count} events, {deaths} workers killed: 0 lost, {again} came again")


def _submit(customers: Iterator[Project], count: int, pace: float) -> list[tuple[Project, str]]:
    """Submit jobs in turn, `pace` a second, however long each takes."""
    never, started = threading.Event(), time.monotonic()
    with ThreadPoolExecutor(4) as clients:
        pending: list[tuple[Project, Future[str]]] = []
        for nth in range(count):
            never.wait(max(started + nth / pace - time.monotonic(), 0))
            each = next(customers)
            pending.append((each, clients.submit(each.submit)))
        return [(each, made.result()) for each, made in pending]


def _wait_for(crowd: Crowd, ear: Endpoint, count: int) -> None:
    eventually(
        lambda: len({hit.id for hit in crowd.of(ear.path)}) >= count, f"{count} events came", LONG
    )


def _cancel(customer: Project) -> str:
    """Make an event without a worker: submit a job and cancel it."""
    made = customer.submit()
    answer = customer.client.post(f"/v1/jobs/{made}/cancel")
    assert answer.status_code == 200, answer.text
    return made


@contextmanager
def _dying(crowd: Crowd, worker: Actor, moment: str, path: str, after: int) -> Iterator[None]:
    """Kill a worker as the next webhook after the first `after` comes to a moment of its way."""

    def passing(now: hostile.Moment) -> None:
        if now == moment and len(crowd.of(path)) >= after:
            worker.kill()

    crowd.passing = passing
    yield
    crowd.passing = lambda _now: None


def _explained(way: Way, each: Project, ear: Endpoint, jobs: list[str]) -> None:
    """See that the log has a line for each event, and says why it did not arrive."""
    why = {
        "hang": (None, "timeout"),
        "drip": (200, "delivered"),  # its status line is its answer
        "fail": (500, "HTTP 500"),
        "redirect": (307, "redirect, never followed"),
        "gone": (410, "410 Gone"),
    }[way]
    waits = {"delivered", "held"} if way == "gone" else {"delivered", "pending", "sending"}
    eventually(
        lambda: {why} <= _met(each.log(ear)) and {line.state for line in each.log(ear)} <= waits,
        f"the log tells that an endpoint did this: {way}",
    )
    log = each.log(ear)
    assert Counter(line.job_id for line in log) == Counter(jobs)
    # A machine that stands still for some seconds is a time-out too.
    assert _met(log) <= {why, (204, "delivered"), (None, "timeout")}


def _met(log: Iterable[Delivery]) -> set[tuple[int | None, str]]:
    return {(each.http_status, each.result) for line in log for each in line.tries}


def _quote(line: str) -> None:
    print(f"\n{line}")  # noqa: T201 - what the long run is for


def _wait_for_what_was_signed(stage: Stage) -> None:
    """Wait until every delivery is over that a worker had taken by now."""
    now = stage.rows("SELECT now()")[0][0]
    eventually(
        lambda: not stage.number(
            "SELECT count(*) FROM deliveries WHERE state = 'sending' AND taken_at < %s", now
        ),
        "what was signed has been sent", LONG,
    )  # fmt: skip


def _delay(hit: Hit) -> float:
    """Return the milliseconds from a job's end to the receipt of its webhook: one machine, one clock."""
    return 1000 * (hit.at - Told.model_validate_json(hit.body).data.finished_at.timestamp())


async def _key(stage: Stage) -> str:
    """Make a project; returns an API key of it."""
    database = Database(stage.settings, ring=lambda _topic, _key: None, pool=1)
    try:
        return (await make_project(database, Vault.of(stage.settings), secrets.token_hex(4)))[1]
    finally:
        await database.close()
