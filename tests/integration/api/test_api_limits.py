"""What one caller may ask for: requests in a minute, jobs in a queue, bytes in a body."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from hashlib import shake_256
from io import BytesIO
from urllib.parse import urlsplit
from uuid import UUID, uuid4
from zlib import crc32

import pytest
from PIL import Image
from sqlalchemy import Engine, event, text
from starlette.types import Message

from api.edge.body_limits import SMALL, BodyLimiter, Pace
from api.edge.byte_budget import ByteBudget
from api.edge.callers import Callers
from api.edge.callers.rates import Rates
from api.edge.callers.shares import Shares
from api.sharing.queues import Queues
from models import ids
from models.accounts import api_keys
from models.accounts.callers import Caller
from models.errors import BodyTooLarge, TooMany, TooSlow, Unauthenticated, Unavailable
from models.platform.db import Database
from models.platform.db.direct import Direct
from models.platform.db.statements import Row, Statement, Values
from models.settings import Settings
from tests.conftest import make_settings
from tests.integration.api.client import Api, bearer, body, input_, path, problem
from tests.integration.api.conftest import Serve

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
JSON = {"content-type": "application/json"}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(api: Api) -> Iterator[Api]:
    """An API whose limits a test may change."""
    callers, queues = api.state.callers, api.state.queues
    yield api
    api.state.callers, api.state.queues = callers, queues


def limit_requests(api: Api, per_minute: int, clock: Clock) -> None:
    api.state.callers = Callers(api.state.database, Rates(per_minute, clock))


def limit_queue(api: Api, most: int, clock: Clock, **told: int) -> None:
    api.state.queues = Queues(api.state.database, most, clock, **told)


async def test_every_answer_to_a_key_says_what_is_left_of_its_minute(
    state: Api, clock: Clock
) -> None:
    limit_requests(state, 5, clock)
    answers = [
        await state.client.get("/v1/jobs"),
        await state.client.get(path(uuid4())),
        await state.client.post("/v1/jobs", json={"input": 7}),
    ]
    assert [each.status_code for each in answers] == [200, 404, 422]
    assert {each.headers["ratelimit-policy"] for each in answers} == {'"key";q=5;w=60'}
    assert [each.headers["ratelimit"] for each in answers] == [
        f'"key";r={left};t=60' for left in (4, 3, 2)
    ]


async def test_a_key_that_asks_too_often_is_told_when_to_come_again(
    state: Api, clock: Clock
) -> None:
    limit_requests(state, 2, clock)
    job = await state.submit()
    clock.now += 20
    await state.job(job)
    answer = await state.client.post("/v1/jobs", json=body())
    said = problem(answer, 429, "rate_limited")
    assert said["retryable"] is True
    assert answer.headers["retry-after"] == "40"
    assert answer.headers["ratelimit"] == '"key";r=0;t=40'
    assert await state.life.count("jobs") == 1
    other = await state.key_with("jobs:read")
    assert (await state.client.get(path(job), headers=other)).status_code == 200, "by itself"
    clock.now += 40
    assert (await state.client.get(path(job))).status_code == 200


async def test_all_keys_of_a_project_ask_twice_as_often_as_one_at_most(
    state: Api, clock: Clock
) -> None:
    limit_requests(state, 2, clock)
    keys = [await state.key_with("jobs:read") for _ in range(3)]
    away = [await state.client.get("/v1/jobs", headers=keys[0]) for _ in range(5)]
    assert [each.status_code for each in away] == [200, 200, 429, 429, 429]
    own = [await state.client.get("/v1/jobs", headers=keys[1]) for _ in range(2)]
    assert [each.status_code for each in own] == [200, 200], "what ran away took none of its share"
    assert own[1].headers["ratelimit"] == '"key";r=0;t=60'
    more = await state.client.get("/v1/jobs", headers=keys[2])
    assert "All API keys of this project" in str(problem(more, 429, "rate_limited")["detail"])
    assert more.headers["ratelimit-policy"] == '"project";q=4;w=60'
    others = await state.another_project()
    assert (await state.client.get("/v1/jobs", headers=others)).status_code == 200


async def test_who_has_no_key_is_told_of_no_quota(api: Api) -> None:
    answer = await api.client.get("/v1/jobs", headers=bearer("dr_live_x"))
    assert answer.status_code == 401
    assert "ratelimit" not in answer.headers


def test_counters_have_bounds(clock: Clock) -> None:
    rates = Rates(10, clock)
    first = uuid4()
    assert rates.spend(first, None)[0].left == 9
    for _ in range(10_000):
        rates.spend(uuid4(), None)
    assert rates.spend(first, None)[0].left == 9, "the oldest was dropped, and begins anew"


async def test_a_key_that_is_no_good_is_looked_up_once_in_a_while(api: Api, clock: Clock) -> None:
    callers, key = Callers(api.state.database, Rates(10, clock)), api_keys.new_key()
    with pytest.raises(Unauthenticated):
        await callers.identify(f"Bearer {key}")
    async with api.life.database.transaction() as tx:
        await api_keys.create_key(tx, api.life.caller.project_id, "late", ("jobs:read",), key)
    with pytest.raises(Unauthenticated):
        await callers.identify(f"Bearer {key}")


async def test_garbage_refuses_no_good_key_that_was_never_seen(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a start: nothing tells a good key from well-formed garbage before it was looked up."""
    callers = Callers(api.state.database, Rates(10, clock))
    garbage = [api_keys.new_key() for _ in range(5_000)]
    public_id = api.key.split("_")[2]
    likeness = [fake for fake in _alike(public_id, 100) if fake != api.key]
    asked = [callers.identify(f"Bearer {key}") for key in (*garbage, api.key, *likeness)]
    questions = overheard(api.state.database.direct, monkeypatch)
    found = await asyncio.gather(*asked, return_exceptions=True)
    good = found.pop(len(garbage))
    assert isinstance(good, Caller)
    assert good.key_id == api.life.caller.key_id
    assert {type(each) for each in found} == {Unauthenticated}
    assert 1 <= len(questions) < 20, "they were looked up together"


async def test_what_is_malformed_or_mistyped_costs_no_question(clock: Clock) -> None:
    nowhere = Callers(Database(make_settings(), ring=lambda _topic, _key: None), Rates(10, clock))
    key = api_keys.new_key()
    for wrong in (key[:-1], key[:-1] + ("0" if key[-1] != "0" else "1"), "x" * 10_000, "dr_live_"):
        with pytest.raises(Unauthenticated):
            await nowhere.identify(f"Bearer {wrong}")


async def test_what_postgres_did_not_answer_is_asked_again(api: Api, clock: Clock) -> None:
    away = make_settings(database_url="postgresql://nobody@127.0.0.1:1/nowhere")
    callers = Callers(Database(away, ring=lambda _topic, _key: None), Rates(10, clock))
    for _ in range(2):
        with pytest.raises(Unavailable):
            await callers.identify(f"Bearer {api.key}")


def _alike(public_id: str, count: int) -> list[str]:
    """Make keys of the same id as a good one, with other secrets and right CRCs."""
    made = []
    for _ in range(count):
        body = f"dr_live_{public_id}_{api_keys.new_key().split('_')[3][:40]}"
        number, letters = crc32(body.encode()), "0123456789abcdefghjkmnpqrstvwxyz"
        made.append(body + "".join(letters[(number >> shift) & 31] for shift in range(30, -1, -5)))
    return made


def overheard(direct: Direct, monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """Return what this is asked from now on; it is answered as ever."""
    asked: list[Statement] = []

    async def read(statement: Statement, values: Values) -> list[Row]:
        asked.append(statement)
        return await Direct.read(direct, statement, values)

    monkeypatch.setattr(direct, "read", read)
    return asked


async def test_a_thousand_requests_with_one_new_key_are_one_question(
    api: Api, clock: Clock
) -> None:
    callers = Callers(api.state.database, Rates(10, clock))
    found = await asyncio.gather(*(callers.identify(f"Bearer {api.key}") for _ in range(1_000)))
    assert {each.key_id for each in found} == {api.life.caller.key_id}


async def test_a_full_queue_takes_no_other_job_and_leaves_nothing(state: Api, clock: Clock) -> None:
    limit_queue(state, 2, clock)
    jobs = [await state.submit(), await state.submit()]
    ledger = await state.life.count("ledger")
    answer = await state.client.post("/v1/jobs", json=body(input=input_(image_urls=[noise(64)])))
    problem(answer, 429, "queue_full")
    assert int(answer.headers["retry-after"]) > 0
    assert await state.life.count("jobs") == 2
    assert await state.life.count("ledger") == ledger
    assert state.life.blobs() == []
    await state.client.post(path(jobs[0], "/cancel"))
    retried = await state.client.post(path(jobs[0], "/retry"))
    problem(retried, 429, "queue_full")
    clock.now += 1
    assert (await state.client.post("/v1/jobs", json=body())).status_code == 202, "there is room"


async def test_a_full_queue_still_answers_for_jobs_that_are_there(state: Api, clock: Clock) -> None:
    limit_queue(state, 1, clock)
    keyed = {"idempotency-key": "k"}
    asked = body(input=input_(image_urls=[noise(64)]))
    first = await state.client.post("/v1/jobs", json=asked, headers=keyed)
    again = await state.client.post("/v1/jobs", json=asked, headers=keyed)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["idempotent-replayed"] == "true"
    other = await state.client.post("/v1/jobs", json=body(), headers=keyed)
    problem(other, 422, "idempotency_key_reuse")


async def test_a_full_queue_still_gives_the_image_that_is_kept(state: Api, clock: Clock) -> None:
    await state.life.succeed(await state.submit())
    limit_queue(state, 1, clock)
    await state.submit(input=input_(prompt="another"))
    answer = await state.client.post("/v1/jobs", json=body(reuse="exact"))
    assert (answer.status_code, answer.json()["status"]) == (202, "succeeded")


async def test_a_project_that_many_webhooks_wait_of_submits_no_job_until_they_are_fewer(
    state: Api, clock: Clock
) -> None:
    limit_queue(state, 100, clock, told=2)
    for n in range(2):
        made = await state.submit(webhook={"url": f"https://hooks.example/{n}"})
        await state.client.post(path(made, "/cancel"))
    clock.now += 10
    problem(await state.client.post("/v1/jobs", json=body()), 429, "queue_full")
    other = await state.another_project()
    assert (await state.client.post("/v1/jobs", json=body(), headers=other)).status_code == 202
    async with state.life.database.transaction() as tx:
        await tx.execute(text("DELETE FROM deliveries WHERE url LIKE '%/1'"))
    clock.now += 10
    assert (await state.client.post("/v1/jobs", json=body())).status_code == 202


async def test_a_queue_is_one_projects_own(state: Api, clock: Clock) -> None:
    limit_queue(state, 1, clock)
    await state.submit()
    other = await state.another_project()
    assert (await state.client.post("/v1/jobs", json=body(), headers=other)).status_code == 202


def noise(side: int) -> str:
    """Draw a picture that does not compress, three bytes a pixel; returns its data: URL."""
    drawn = BytesIO()
    pixels = shake_256(b"noise").digest(3 * side * side)
    Image.frombytes("RGB", (side, side), pixels).save(drawn, "PNG")
    return f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"


async def test_references_may_make_a_body_large_and_nothing_else_may(api: Api) -> None:
    large = noise(700)
    assert len(large) > SMALL
    taken = await api.client.post("/v1/jobs", json=body(input=input_(image_urls=[large])))
    assert taken.status_code == 202
    refused = await api.client.post("/v1/jobs", json=body(input=input_(prompt="x" * SMALL)))
    assert "beside its references" in str(problem(refused, 413, "body_too_large")["detail"])


async def test_a_body_without_a_length_is_weighed_while_it_comes(api: Api) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 50_000

    answer = await api.client.post("/v1/jobs", content=chunks(), headers=JSON)
    problem(answer, 413, "body_too_large")


def arriving(*chunks: bytes) -> Iterator[Message]:
    for chunk in chunks:
        yield {"type": "http.request", "body": chunk, "more_body": True}


PACE = Pace(timedelta(seconds=10), 1)


def limiter(room: ByteBudget, chunks: Iterator[Message], *, most: int) -> BodyLimiter:
    async def receive() -> Message:
        return next(chunks)

    return BodyLimiter(receive, room, PACE, most=most, owner=lambda: None)


@pytest.mark.parametrize("cut", range(1, 12))
async def test_a_reference_is_known_wherever_the_chunks_are_cut(cut: int) -> None:
    sent = b'["data:' + b"A" * (2 * SMALL) + b'", 1]'
    room = ByteBudget(16 * SMALL)
    taken = limiter(room, arriving(sent[:cut], sent[cut:]), most=4 * SMALL)
    await taken.receive()
    await taken.receive()
    heavy = limiter(room, arriving(sent[:cut], sent[cut:], b" " * SMALL), most=4 * SMALL)
    await heavy.receive()
    await heavy.receive()
    with pytest.raises(BodyTooLarge):
        await heavy.receive()


async def test_a_project_may_hold_as_much_as_it_leaves_free() -> None:
    room, one, other = ByteBudget(120, patience=timedelta(seconds=0.05)), uuid4(), uuid4()
    greedy, second = room.begin(one), room.begin(other)
    await room.take(greedy, 60)
    with pytest.raises(TooMany):
        await room.take(greedy, 1)
    await room.take(second, 30)
    with pytest.raises(TooMany):
        await room.take(second, 1)
    third = room.begin(uuid4())
    await room.take(third, 15)
    room.end(greedy)
    await room.take(second, 15)


async def test_what_becomes_free_goes_to_the_oldest_body() -> None:
    room, one = ByteBudget(200), uuid4()
    oldest, middle, youngest = (room.begin(one) for _ in range(3))
    await room.take(oldest, 50)
    await room.take(youngest, 50)
    youngest.whole = True
    late = asyncio.create_task(room.take(middle, 40))
    await asyncio.sleep(0)
    first = asyncio.create_task(room.take(oldest, 40))
    await asyncio.sleep(0)
    assert not late.done()
    room.end(youngest)
    await first
    assert not late.done(), "there are 10 left to this project"
    room.end(oldest)
    await late


async def test_when_all_bodies_of_a_project_wait_for_each_other_the_youngest_is_refused() -> None:
    room, one = ByteBudget(200), uuid4()
    bodies = [room.begin(one) for _ in range(4)]
    for each in bodies[:3]:
        await room.take(each, 30)
    # The last holds nothing, so its end would help nobody.
    waiting = [asyncio.create_task(room.take(each, 30)) for each in bodies]
    with pytest.raises(TooMany):
        await waiting[2]
    room.end(bodies[2])
    await waiting[0]
    room.end(bodies[0])
    await asyncio.gather(waiting[1], waiting[3])
    for each in (bodies[1], bodies[3]):
        room.end(each)
    whole = room.begin(one)
    await room.take(whole, 100)


async def test_who_goes_away_while_waiting_leaves_the_room_to_others() -> None:
    room, one = ByteBudget(200), uuid4()
    held, gone, next_one = (room.begin(one) for _ in range(3))
    await room.take(held, 100)
    held.whole = True
    leaving, staying = (
        asyncio.create_task(room.take(gone, 90)),
        asyncio.create_task(room.take(next_one, 50)),
    )
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    room.end(gone)
    room.end(held)
    await staying


async def test_only_a_large_body_takes_room_and_only_what_has_come() -> None:
    room, one = ByteBudget(2 * SMALL, patience=timedelta(seconds=0.05)), UUID(int=0)
    small = limiter(room, arriving(b" " * 60_000), most=SMALL)
    await small.receive()
    large = limiter(room, arriving(b'"data:' + b"A" * 100_000), most=64 * SMALL)
    await large.receive()
    rest = room.begin(one)
    await room.take(rest, SMALL - 100_006)
    with pytest.raises(TooMany):
        await room.take(rest, 1)
    large.release()
    await room.take(rest, 100_006)


async def test_a_body_that_stops_coming_is_given_up() -> None:
    async def never() -> Message:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    stuck = BodyLimiter(
        never, ByteBudget(SMALL), Pace(timedelta(0), 1), most=SMALL, owner=lambda: None
    )
    with pytest.raises(TooSlow):
        await stuck.receive()


@asynccontextmanager
async def announced(api: Api, key: str, bytes_: int) -> AsyncIterator[Connection]:
    """Announce a body, and send none of it."""
    address = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {bytes_}\r\n\r\n".encode()
    )
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_bodies_that_are_only_announced_take_no_room(api: Api) -> None:
    key, large = f"Bearer {api.key}", body(input=input_(image_urls=[noise(700)]))
    async with AsyncExitStack() as idle:
        for _ in range(4):
            await idle.enter_async_context(announced(api, key, 64 * SMALL))
        taken = await asyncio.wait_for(api.client.post("/v1/jobs", json=large), 10)
    assert taken.status_code == 202


async def test_no_body_is_read_for_a_key_without_the_scope(api: Api) -> None:
    narrow = (await api.key_with("usage:read"))["authorization"]
    async with announced(api, narrow, 64 * SMALL) as (reader, _):
        line = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    assert line == b"HTTP/1.1 403 Forbidden\r\n"


async def test_a_body_that_drips_is_told_so_and_others_are_not_in_its_way(
    settings: Settings, serving: Serve
) -> None:
    hurried = settings.model_copy(update={"body_grace": timedelta(seconds=1)})
    async with serving(hurried) as api, announced(api, f"Bearer {api.key}", SMALL) as (ear, mouth):
        answering = asyncio.create_task(ear.read())
        while not answering.done():
            mouth.write(b" ")
            await asyncio.wait([answering], timeout=0.05)
        answer = (await answering).decode()
    assert answer.startswith("HTTP/1.1 408 Request Timeout\r\n")
    assert "connection: close\r\n" in answer
    assert "application/problem+json" in answer
    assert "65,536 bytes a second are the least" in answer


async def test_one_projects_waits_and_streams_leave_connections_to_others(api: Api) -> None:
    """Of nine places five are one project's, for then there are four for others."""
    before, shares = api.state.callers, Shares(9)
    api.state.callers = Callers(api.state.database, Rates(30_000), shares=shares)
    other, job = await api.another_project(), await api.submit()
    streams = ("/v1/events", path(job, "/events"), path(job, "/events"))
    try:
        async with AsyncExitStack() as stack, asyncio.timeout(30):
            for each in streams:
                asked = api.client.stream("GET", each, headers={"accept": "text/event-stream"})
                assert (await stack.enter_async_context(asked)).status_code == 200
            polls = [asyncio.create_task(api.client.get(path(job, "?wait=20"))) for _ in range(2)]
            while shares.under_way < len(streams) + len(polls):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
            refused = await api.client.get("/v1/jobs")
            told = problem(refused, 429, "rate_limited")["detail"]
            assert "5 requests of this project" in str(told)
            assert int(refused.headers["retry-after"]) > 0
            assert (await api.client.get("/v1/jobs", headers=other)).status_code == 200
            await api.life.succeed(job)
            assert [(await each).json()["status"] for each in polls] == ["succeeded"] * 2
        async with asyncio.timeout(30):
            while shares.under_way:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert (await api.client.get("/v1/jobs")).status_code == 200
    finally:
        api.state.callers = before


_REVOKED = """
    INSERT INTO api_keys (id, project_id, name, public_id, secret_hash, scopes, revoked_at)
    SELECT gen_random_uuid(), project_id, name, 'old' || n, secret_hash, scopes, now()
      FROM api_keys, generate_series(1, 26) n WHERE project_id = :project AND name = 'shop'
"""


async def test_a_project_makes_so_many_keys(api: Api) -> None:
    settings = api.state.settings
    api.state.settings = settings.model_copy(update={"keys_max": 3})
    wish = {"name": "one more", "scopes": ["jobs:read"]}
    try:
        made = [await api.client.post("/v1/keys", json=wish) for _ in range(2)]
        assert [each.status_code for each in made] == [201, 201]
        full = await api.client.post("/v1/keys", json=wish)
        assert "DARKROOM_KEYS_MAX" in str(problem(full, 409, "limit_reached")["detail"])
        own = ids.text(ids.PROJECT, api.life.caller.project_id)
        theirs = f"/v1/operator/projects/{own}/keys"
        by_hand = await api.client.post(theirs, json=wish, headers=await api.operator())
        problem(by_hand, 409, "limit_reached")
        one = f"/v1/keys/{made[0].json()['id']}"
        turned = await api.client.post(f"{one}/rotate", json={"grace": 60})
        problem(turned, 409, "limit_reached")
        assert (await api.client.post(f"{one}/rotate", json={"grace": 0})).status_code == 201
        async with api.life.database.transaction() as tx:
            await tx.execute(text(_REVOKED), {"project": api.life.caller.project_id})
        await api.client.delete(f"/v1/keys/{made[1].json()['id']}")
        spent = problem(await api.client.post("/v1/keys", json=wish), 409, "limit_reached")
        assert "has made 30 API keys" in str(spent["detail"])
    finally:
        api.state.settings = settings


async def test_what_anybody_may_ask_for_is_found_out_once(api: Api) -> None:
    """Without a key: a flood of looks is one statement at a time, whoever asks."""
    asked: list[str] = []

    def count(*given: object) -> None:
        asked.append(str(given[2]))

    event.listen(Engine, "before_cursor_execute", count)
    try:
        answers = await asyncio.gather(*(api.client.get("/readyz") for _ in range(60)))
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert {each.status_code for each in answers} == {200}
    assert 0 < len(asked) < 60
