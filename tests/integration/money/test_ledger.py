"""The books: what each outcome holds and charges, and random walks that never upset them."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar
from uuid import UUID

import pytest
from psycopg.rows import DictRow
from sqlalchemy import CursorResult, text

from models import jobs
from models.jobs.attempts import Answer, Ref
from models.money import budgets
from models.money.budgets import Rule
from models.platform.db import Transaction
from models.states import TERMINAL
from tests.fixtures.making import (
    EMPTY_PAID,
    EMPTY_UNPRICED,
    FREE,
    IMAGE,
    IMAGE_UNPRICED,
    LEASE,
    LOST,
    NOT_SENT,
    NOTHING,
    PARKED,
    PRICE,
    REFUSED,
    SLOW_DOWN,
    Bench,
)

Result = TypeVar("Result")

HOLD, RELEASE, CHARGE = "hold", "release", "charge"


async def sums(bench: Bench, job_id: UUID) -> tuple[str, int, int]:
    """Return a job's status, and what it holds and was charged; the audit must be content."""
    assert await bench.audit() == []
    job = await bench.job(job_id)
    return job["status"], job["held"], job["charged"]


async def test_a_submitted_job_holds_its_price(bench: Bench) -> None:
    job_id = await bench.submit(customer="c_9")

    assert await sums(bench, job_id) == ("queued", PRICE, 0)
    assert await bench.ledger(job_id) == [(1, HOLD, PRICE)]
    (entry,) = await bench.rows("SELECT * FROM ledger")
    assert entry["customer"] == "c_9"
    assert (entry["project_id"], entry["key_id"]) == (bench.caller.project_id, bench.caller.key_id)


async def test_an_image_is_charged_what_the_provider_says(bench: Bench) -> None:
    ref = await bench.running()
    dearer = Answer("image", "settled", PRICE + 9, 200, "inf-7", IMAGE.provider_url)
    await bench.receive(ref, dearer)

    assert await sums(bench, ref.job_id) == ("running", 0, PRICE + 9)
    await bench.succeed(ref)
    assert await sums(bench, ref.job_id) == ("succeeded", 0, PRICE + 9)
    assert await bench.ledger(ref.job_id) == [
        (1, HOLD, PRICE), (1, RELEASE, -PRICE), (1, CHARGE, PRICE + 9),
    ]  # fmt: skip
    (charge,) = await bench.rows("SELECT * FROM ledger WHERE kind = 'charge'")
    assert charge["inference_id"] == "inf-7"


async def test_an_image_without_a_price_succeeds_and_is_settled_later(bench: Bench) -> None:
    ref = await bench.running()
    await bench.receive(ref, IMAGE_UNPRICED)
    await bench.succeed(ref)
    assert await sums(bench, ref.job_id) == ("succeeded", PRICE, 0)

    await bench.resolve(ref.job_id, credits_=PRICE)

    assert await sums(bench, ref.job_id) == ("succeeded", 0, PRICE)
    assert await bench.events(ref.job_id) == ["job.succeeded", "job.charge_resolved"]


@pytest.mark.parametrize("answer", [FREE, SLOW_DOWN, NOT_SENT, PARKED])
async def test_an_uncharged_answer_gives_its_hold_back_and_holds_for_the_next(
    bench: Bench, answer: Answer
) -> None:
    ref = await bench.running()
    await bench.retry_later(ref, answer)

    assert await sums(bench, ref.job_id) == ("queued", PRICE, 0)
    assert await bench.ledger(ref.job_id) == [
        (1, HOLD, PRICE), (1, RELEASE, -PRICE), (2, HOLD, PRICE),
    ]  # fmt: skip


async def test_an_empty_answer_of_unknown_price_keeps_its_hold_beside_the_next(
    bench: Bench,
) -> None:
    ref = await bench.running()
    await bench.retry_later(ref, EMPTY_UNPRICED)
    assert await sums(bench, ref.job_id) == ("queued", 2 * PRICE, 0)


@pytest.mark.parametrize("end", ["refuse", "cancel", "expire"])
async def test_a_job_that_ends_uncharged_holds_nothing(bench: Bench, end: str) -> None:
    ref = await bench.running()
    if end == "refuse":
        await bench.refuse(ref)
    else:
        await bench.retry_later(ref)
        await (bench.cancel if end == "cancel" else bench.expire)(ref.job_id)

    status, held, charged = await sums(bench, ref.job_id)
    assert status in TERMINAL
    assert (held, charged) == (0, 0)


async def test_a_lost_message_touches_no_hold(bench: Bench) -> None:
    job_id = await bench.submit()
    for _ in range(3):
        fence = await bench.dispatch(job_id)
        await bench.reap(job_id)
        assert await bench.start(job_id, fence) is None

    assert await sums(bench, job_id) == ("queued", PRICE, 0)
    assert await bench.ledger(job_id) == [(1, HOLD, PRICE)]
    assert (await bench.job(job_id))["attempt"] == 0


@pytest.mark.parametrize(
    ("policy", "status", "held"), [("retry", "queued", 2), ("wait", "queued", 1), ("fail", "failed", 1)]
)  # fmt: skip
async def test_what_a_lost_answer_holds_is_as_on_unknown_charge_says(
    bench: Bench, policy: str, status: str, held: int
) -> None:
    ref = await bench.running(on_unknown_charge=policy)
    await bench.lose(ref)

    assert await sums(bench, ref.job_id) == (status, held * PRICE, 0)
    await bench.resolve(ref.job_id, credits_=PRICE)
    rest = PRICE if policy == "retry" else 0
    assert await sums(bench, ref.job_id) == ("queued" if rest else "failed", rest, PRICE)


async def test_released_and_then_charged_after_all(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="fail")
    await bench.lose(ref)
    assert await sums(bench, ref.job_id) == ("failed", PRICE, 0)
    await bench.resolve(ref.job_id)
    assert await sums(bench, ref.job_id) == ("failed", 0, 0)
    assert await bench.resolve(ref.job_id) is None
    await bench.resolve(ref.job_id, credits_=PRICE)
    assert await sums(bench, ref.job_id) == ("failed", 0, PRICE)
    assert await bench.resolve(ref.job_id, credits_=PRICE) is None
    assert await bench.ledger(ref.job_id) == [
        (1, HOLD, PRICE), (1, RELEASE, -PRICE), (1, CHARGE, PRICE),
    ]  # fmt: skip


# What bounds a job's tries and money.


async def test_max_attempts_counts_what_was_sent_and_failed(bench: Bench) -> None:
    job_id = await bench.submit(max_attempts=2)
    uncounted = (SLOW_DOWN, NOT_SENT, SLOW_DOWN)
    for answer in uncounted:
        assert await bench.retry_later(await bench.begin(job_id), answer)
    assert await bench.park(await bench.begin(job_id))
    assert (await bench.job(job_id))["counted"] == 0

    await bench.retry_later(await bench.begin(job_id), FREE)
    assert (await sums(bench, job_id))[0] == "queued"
    await bench.retry_later(await bench.begin(job_id), FREE)

    assert await sums(bench, job_id) == ("failed", 0, 0)
    error = (await bench.job(job_id))["error"]
    assert error["code"] == "attempts_exhausted"
    assert len(await bench.attempts(job_id)) == 6


async def test_max_attempts_counts_lost_answers_too(bench: Bench) -> None:
    ref = await bench.running(max_attempts=1)
    await bench.lose(ref)
    job = await bench.job(ref.job_id)
    assert job["error"]["code"] == "attempts_exhausted"
    assert await sums(bench, ref.job_id) == ("failed", PRICE, 0)


@pytest.mark.parametrize(
    ("answer", "max_cost", "goes_on"),
    [
        (EMPTY_PAID, 2 * PRICE, True),
        (EMPTY_PAID, 2 * PRICE - 1, False),
        (EMPTY_UNPRICED, 2 * PRICE - 1, False),
        (LOST, 2 * PRICE - 1, False),
        (LOST, 2 * PRICE, True),
        (FREE, PRICE, True),
    ],
)
async def test_max_cost_bounds_charged_and_unknown_and_the_next_hold(
    bench: Bench,
    answer: Answer,
    max_cost: int,
    goes_on: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    ref = await bench.running(max_cost=max_cost)
    await (bench.lose(ref) if answer is LOST else bench.retry_later(ref, answer))

    status, held, charged = await sums(bench, ref.job_id)
    assert status == ("queued" if goes_on else "failed")
    assert held + charged <= max_cost
    if not goes_on:
        assert (await bench.job(ref.job_id))["error"]["code"] == "max_cost_reached"


# The audit finds what does not agree.


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE jobs SET held = held + 1",
        "UPDATE jobs SET charged = charged - 1",
        "DELETE FROM ledger WHERE kind = 'charge'",
        "UPDATE ledger SET credits = credits + 1 WHERE kind = 'charge'",
        "UPDATE ledger SET credits = credits - 1 WHERE kind = 'release'",
        "UPDATE ledger SET attempt = 2 WHERE kind = 'charge'",
        "UPDATE ledger SET kind = 'adjustment' WHERE kind = 'release'",
        "UPDATE attempts SET credits = credits + 1 WHERE credits IS NOT NULL",
        "UPDATE attempts SET charge = 'unknown', credits = NULL WHERE charge = 'settled'",
        "UPDATE attempts SET charge = 'released' WHERE charge = 'unknown'",
        "UPDATE attempts SET hold = hold - 1 WHERE charge = 'unknown'",
        """INSERT INTO ledger (project_id, key_id, job_id, attempt, kind, credits)
           SELECT project_id, key_id, id, 9, 'hold', 1 FROM jobs""",
        """WITH gone AS (DELETE FROM ledger WHERE kind = 'release' RETURNING job_id)
           UPDATE jobs SET held = 91000 WHERE id IN (SELECT job_id FROM gone)""",
    ],
)
async def test_the_audit_finds_every_tampering(bench: Bench, tampering: str) -> None:
    done = await bench.running()
    await bench.receive(done)
    await bench.succeed(done)
    await bench.lose(await bench.running(on_unknown_charge="fail"))
    assert await bench.audit() == []

    await bench.run(tampering)

    assert await bench.audit() != []


# Random walks: whoever does what in whatever order, the books agree and no job leaves the diagram.

Edge = tuple[tuple[str, str], tuple[str, str]]
Known = Literal["open", "lost", "told", "none", "released", "released, unheard"] | int

EDGES = {
    ("queued", "call"): {
        ("released", "call"), ("running", "keep"), ("failed", "call"), ("canceled", "call"),
        ("expired", "call"), ("succeeded", "call"),
    },
    ("released", "call"): {
        ("running", "call"), ("running", "keep"), ("queued", "call"), ("canceled", "call"),
        ("expired", "call"), ("succeeded", "call"),
    },
    ("running", "call"): {
        ("running", "keep"), ("queued", "call"), ("failed", "call"), ("canceled", "call"),
        ("succeeded", "call"), ("queued", "keep"),
    },
    ("running", "keep"): {
        ("succeeded", "keep"), ("queued", "keep"), ("failed", "keep"), ("canceled", "keep"),
    },
    ("queued", "keep"): {("released", "keep"), ("succeeded", "keep"), ("canceled", "keep")},
    ("released", "keep"): {
        ("running", "keep"), ("queued", "keep"), ("succeeded", "keep"), ("canceled", "keep"),
    },
}  # fmt: skip

# What the dispatcher, the clock and the API do, and how often.
ACTS = {
    "dispatch": 7, "start": 10, "hand_back": 2, "reap": 3, "free": 1, "charged": 1, "due": 4,
    "readmit": 0.5, "url dies": 0.5, "cancel": 0.6, "expire": 0.2,
}  # fmt: skip

DEARER = Answer("image", "settled", None, 200, "inf-3", IMAGE.provider_url)
_DUE = "run_after = CASE WHEN run_after IS NULL THEN NULL ELSE now() END"
INLINE = replace(IMAGE, provider_url=None)


@dataclass(frozen=True)
class Joined(Bench):
    """A bench whose arrows all share one transaction, so that a whole walk can be taken back."""

    tx: Transaction = field(kw_only=True)

    async def do(self, write: Callable[[Transaction], Awaitable[Result]]) -> Result:
        result = await write(self.tx)
        self.tx.expunge_all()
        return result

    async def rows(self, sql: str, **values: object) -> Sequence[DictRow]:
        found = await self.tx.execute(text(sql), values)
        assert isinstance(found, CursorResult)
        return [dict(row) for row in found.mappings()] if found.returns_rows else []


@dataclass
class Walk:
    """Somebody who takes arrows at random, and what they expect every attempt to cost."""

    bench: Bench
    job_ids: list[UUID]
    chance: random.Random
    refs: list[Ref] = field(default_factory=list)
    known: dict[tuple[UUID, int], Known] = field(default_factory=dict)
    late_images: list[Ref] = field(default_factory=list)  # received, and perhaps not yet kept

    async def overtake(self) -> str:
        """Let a first call be given up, a second one begin, and the first one's image come then.

        Half of the time the second one brings none, and the job is released again.
        """
        job_id = self.job_ids[0]
        await self.bench.dispatch(job_id)
        await self._start(job_id)
        await self._reap(job_id)
        await self.bench.dispatch(job_id)
        await self._start(job_id)
        await self._receive(self.refs[0])
        if self.chance.random() < 0.5:
            return "overtake"
        self._hear(self.refs[1], FREE)
        await self.bench.retry_later(self.refs[1], FREE)
        await self.bench.change(job_id, _DUE)
        if self.chance.random() < 0.4:
            await self.bench.cancel(job_id)
        await self._hand_out()
        return "overtake, retry_later, dispatch"

    async def step(self) -> str:
        """Take one arrow; returns its name."""
        job_id = self.chance.choice(self.job_ids)
        if not self.refs or self.chance.random() < 0.5:
            return await self._dispatch(job_id)
        if self.late_images and self.chance.random() < 0.2:
            await self.bench.keep_late(self.chance.choice(self.late_images))
            return "keep_late"
        return await self._work(self.chance.choice(self.refs[-4:]))

    async def _dispatch(self, job_id: UUID) -> str:
        bench = self.bench
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "dispatch": self._hand_out,
            "start": lambda: self._start(job_id),
            "hand_back": lambda: self._hand_back(job_id),
            "reap": lambda: self._reap(job_id),
            "free": lambda: self._resolve(job_id, None),
            "charged": lambda: self._resolve(job_id, PRICE),
            "due": lambda: bench.change(job_id, _DUE),
            "readmit": lambda: bench.do(lambda tx: jobs.readmit(tx, bench.presenter, job_id)),
            "url dies": lambda: bench.change(job_id, "keep_until = now()"),
            "cancel": lambda: bench.cancel(job_id),
            "expire": lambda: bench.expire(job_id),
        }
        name = self.chance.choices(tuple(ACTS), tuple(ACTS.values()))[0]
        await acts[name]()
        return name

    async def _hand_out(self) -> None:
        await self.bench.do(lambda tx: jobs.dispatch(tx, 9, lease=LEASE, typical_call=NOTHING))

    async def _hand_back(self, job_id: UUID) -> None:
        await self.bench.hand_back(job_id, (await self.bench.job(job_id))["fence"])

    async def _reap(self, job_id: UUID) -> None:
        job = await self.bench.job(job_id)
        if job["status"] == "running" and job["phase"] == "call":
            self.known[job_id, job["attempt"]] = "lost"
        await self.bench.reap(job_id)

    async def _start(self, job_id: UUID) -> None:
        begun = await self.bench.start(job_id, (await self.bench.job(job_id))["fence"])
        if begun is not None:
            self.refs.append(begun.ref)
            if begun.phase == "call":
                self.known[job_id, begun.ref.number] = "open"

    async def _resolve(self, job_id: UUID, credits_: int | None) -> None:
        number = self.chance.choice([each for _, each in self.known] or [1])
        await self.bench.resolve(job_id, number, credits_)
        match self.known.get((job_id, number)):
            case "lost" | "told" as state if credits_ is None:
                self.known[job_id, number] = "released"
                if state == "lost":
                    self.known[job_id, number] = "released, unheard"
            case "lost" | "told" | "released" | "released, unheard" if credits_ is not None:
                self.known[job_id, number] = credits_
            case _:
                pass

    async def _work(self, ref: Ref) -> str:
        bench = self.bench
        name = self.chance.choice(
            ("receive", "receive", "succeed", "keep_later", "retry_later", "refuse", "park", "lose")
        )
        match name:
            case "receive":
                await self._receive(ref)
            case "succeed":
                await bench.succeed(ref)
            case "keep_later":
                await bench.keep_later(ref)
            case "retry_later":
                answer = self.chance.choice((FREE, SLOW_DOWN, EMPTY_PAID, EMPTY_UNPRICED))
                self._hear(ref, answer)
                await bench.retry_later(ref, answer)
            case "refuse":
                self._hear(ref, REFUSED)
                await bench.refuse(ref)
            case "park":
                self._hear(ref, PARKED)
                await bench.park(ref)
            case _:
                self._hear(ref, LOST)
                await bench.lose(ref)
        return name

    async def _receive(self, ref: Ref) -> None:
        image = self.chance.choice((IMAGE, IMAGE_UNPRICED, DEARER, INLINE))
        if image is DEARER:  # never what another job was charged: that would teach a price
            image = replace(DEARER, credits=PRICE + 1 + ref.job_id.int % 9_000)
        self._hear(ref, image)
        received = await self.bench.receive(ref, image)
        if received is not None:
            use, mine = received
            (self.refs if use == "keep" else self.late_images).append(mine)

    def _hear(self, ref: Ref, answer: Answer) -> None:
        """Expect what this answer says of its attempt, if it is the one that made the call."""
        at = ref.job_id, ref.number
        if ref.start_id not in self._callers(ref):
            return
        state = self.known.get(at)
        if state in {"open", "lost"}:
            if answer.charge == "unknown":
                self.known[at] = "lost" if answer is LOST else "told"
            else:
                self.known[at] = "none" if answer.credits is None else answer.credits
        elif state == "released, unheard" and answer.outcome == "image":
            self.known[at] = "released" if answer.credits is None else answer.credits

    def _callers(self, ref: Ref) -> set[UUID]:
        """Return who made this call: the first to hold its number; whoever came later only keeps."""
        same = [
            each for each in self.refs if (each.job_id, each.number) == (ref.job_id, ref.number)
        ]
        return {same[0].start_id} if same else set()

    def charged(self, job_id: UUID) -> int:
        """Add up what the provider took for a job."""
        return sum(
            state for (owner, _), state in self.known.items()
            if owner == job_id and isinstance(state, int)
        )  # fmt: skip

    def unknown(self, job_id: UUID) -> int:
        """Add up what the job's open and lost calls hold."""
        return PRICE * sum(
            owner == job_id and state in {"open", "lost", "told"}
            for (owner, _), state in self.known.items()
        )


@pytest.mark.timeout(1800)
async def test_no_walk_upsets_the_books_or_leaves_the_diagram(
    bench: Bench, request: pytest.FixtureRequest
) -> None:
    """Walk `--walks` times `--steps` arrows, and audit the books at each change.

    A dozen by default; 200 find every arrow (`make long`).
    """
    walks, steps = request.config.getoption("--walks"), request.config.getoption("--steps")
    seen = set[Edge]()
    for seed in range(walks):
        seen |= await _walk(bench, random.Random(seed), steps)  # noqa: S311 - the same each time

    # A walk that never comes anywhere would prove nothing.
    arrows = {(a, b) for a, others in EDGES.items() for b in others}
    assert seen <= arrows
    assert seen == arrows or walks < 200, arrows - seen
    assert len(seen) > len(arrows) / 2


@pytest.mark.long
async def test_no_walk_in_the_plain_way_upsets_the_books(bench: Bench) -> None:
    """Walk jobs that no budget watches and nobody follows: a worker takes most arrows in one statement."""
    for seed in range(30):
        job_ids = [await bench.submit(max_attempts=9, max_cost=99 * PRICE)]
        walk, taken = Walk(bench, job_ids, random.Random(seed)), []  # noqa: S311 - as above
        job = await bench.job(job_ids[0])
        for _ in range(30):
            taken.append(await walk.step())
            before, job = job, await bench.job(job_ids[0])
            edge = (before["status"], before["phase"]), (job["status"], job["phase"])
            assert edge[0] == edge[1] or edge[1] in EDGES.get(edge[0], ()), (taken, edge)
            _compare(walk, job, taken)
            assert not await _wasted(bench), taken
    assert await bench.audit() == []


class _TakenBack(Exception):
    """Rolls a whole walk back, so that each starts in an empty database."""


async def _walk(bench: Bench, chance: random.Random, steps: int) -> set[Edge]:
    seen = set[Edge]()
    try:
        async with bench.database.transaction() as tx:
            joined = Joined(bench.database, bench.presenter, bench.caller, plain=False, tx=tx)
            policy = chance.choice(("retry", "wait", "fail"))
            await joined.do(lambda tx: budgets.put(tx, bench.caller.project_id, _room(chance)))
            options = {"on_unknown_charge": policy, "max_attempts": 9, "max_cost": 99 * PRICE}
            job_ids = [await joined.submit(reuse="exact", **options)]
            for _ in range(chance.randrange(3)):
                await joined.submit(reuse="exact", **options)
            walk, taken = Walk(joined, job_ids, chance), [policy]
            if policy == "retry" and chance.random() < 0.8:
                taken.append(await walk.overtake())
            job, known = await joined.job(job_ids[0]), dict(walk.known)
            for _ in range(steps):
                taken.append(await walk.step())
                before, job = job, await joined.job(job_ids[0])
                edge = (before["status"], before["phase"]), (job["status"], job["phase"])
                if edge[0] != edge[1]:
                    assert edge[1] in EDGES.get(edge[0], ()), (taken, edge)
                    seen.add(edge)
                if job != before or walk.known != known:
                    known = dict(walk.known)
                    await _check(walk, job, taken)
            assert await joined.audit() == [], taken
            raise _TakenBack  # noqa: TRY301 - leaving the transaction is the point
    except _TakenBack:
        return seen


def _room(chance: random.Random) -> Rule:
    """Return a budget in which there is sometimes no room for another attempt."""
    room = chance.choice((3, 4, 99)) * PRICE + 99_000
    return Rule("project", chance.choice(("day", "total")), "Europe/Berlin", room, "hard")


async def _check(walk: Walk, job: DictRow, taken: list[str]) -> None:
    _compare(walk, job, taken)
    assert await walk.bench.audit() == [], taken
    assert not await _wasted(walk.bench), taken


def _compare(walk: Walk, job: DictRow, taken: list[str]) -> None:
    awaits_call = (
        job["status"] in {"queued", "released"}
        and job["phase"] == "call"
        and job["waiting_reason"] not in {"unknown_charge", "budget"}
    )
    held = walk.unknown(job["id"]) + (PRICE if awaits_call else 0)
    assert (job["held"], job["charged"]) == (held, walk.charged(job["id"])), taken
    if job["waiting_reason"] == "unknown_charge" and job["status"] == "queued":
        assert walk.unknown(job["id"]) > 0, f"waits for nothing: {taken}"


async def _wasted(bench: Bench) -> list[UUID]:
    """Return jobs that wait for another call though an image of theirs is kept, or could be fetched."""
    found = await bench.rows(
        "SELECT id FROM jobs WHERE phase = 'call' AND status IN ('queued', 'released') "
        "AND (EXISTS (SELECT FROM images WHERE job_id = jobs.id) OR keep_until > now() "
        "     AND EXISTS (SELECT FROM attempts WHERE job_id = jobs.id AND provider_url <> ''))"
    )
    return [row["id"] for row in found]


async def test_a_storm_of_arrows_deadlocks_nobody_and_breaks_nothing(bench: Bench) -> None:
    job_ids = [await bench.submit(max_attempts=9, max_cost=99 * PRICE) for _ in range(5)]
    refs: list[Ref] = []

    async def one(seed: int) -> None:
        walk = Walk(bench, job_ids, random.Random(seed), refs)  # noqa: S311 - as above
        for _ in range(30):
            await walk.step()

    await asyncio.gather(*(one(seed) for seed in range(12)))

    for job_id in job_ids:
        job, told = await bench.job(job_id), await bench.events(job_id)
        ends = [each for each in told if each.removeprefix("job.") in TERMINAL]
        assert len(ends) == (job["status"] in TERMINAL)
    assert not await _wasted(bench)
    assert await bench.audit() == []
