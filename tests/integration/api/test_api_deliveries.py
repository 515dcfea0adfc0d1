"""The log of deliveries: its pages, sending one again, and replaying what an endpoint missed."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest

from models import ids
from models.states import DeliveryState
from models.webhooks import deliveries
from models.webhooks.deliveries import TryResult
from tests.fixtures.sending import LEASE, PATIENCE
from tests.integration.api.client import Api, Body, path, pointers, problem

URL = "https://example.com/hooks/darkroom"
LATENCY = timedelta(milliseconds=120)
PENDING: DeliveryState = "pending"
EXHAUSTED: DeliveryState = "exhausted"


async def register(api: Api, **fields: object) -> str:
    """Register an endpoint over HTTP; returns its path."""
    answer = await api.client.post("/v1/webhooks", json={"url": URL} | fields)
    assert answer.status_code == 201, answer.text
    return f"/v1/webhooks/{answer.json()['id']}"


async def tried(
    api: Api, result: str, status: int | None, state: DeliveryState = "pending",
    latency: timedelta = LATENCY,
) -> None:  # fmt: skip
    """Let a worker try what is due, once; it comes to this."""
    later = timedelta(seconds=5) if state == "pending" else None
    async with api.life.database.transaction() as tx:
        for delivery, number in (await deliveries.wake(tx, 100, LEASE, cap=100, rate=1000)).due:
            assert await deliveries.take(tx, api.state.vault, delivery, number, LEASE)
            met = TryResult(state, result, status, latency, later)
            at = datetime.now(UTC)
            assert await deliveries.record(tx, delivery, number, at, met, PATIENCE) == state


async def told(api: Api, endpoint: str, *states: DeliveryState) -> list[str]:
    """Tell an endpoint of so many failed jobs, let their deliveries end so; returns their ids."""
    for state in states:
        await api.life.fail(await api.submit())
        if state != "pending":
            await tried(api, state, 500, state)
    log = (await api.client.get(f"{endpoint}/deliveries", params={"limit": 100})).json()
    return [each["id"] for each in reversed(log["data"])][-len(states) :]


async def states(api: Api, endpoint: str) -> list[str]:
    """Read the states of an endpoint's deliveries, oldest first."""
    log = (await api.client.get(f"{endpoint}/deliveries", params={"limit": 100})).json()
    return [each["state"] for each in reversed(log["data"])]


async def replay(api: Api, endpoint: str, **fields: object) -> Body:
    """Replay over HTTP."""
    answer = await api.client.post(f"{endpoint}/replay", json=fields)
    assert answer.status_code == 200, answer.text
    said: Body = answer.json()
    assert said["object"] == "replay"
    return said


async def test_the_log_shows_every_try_of_every_delivery(api: Api) -> None:
    endpoint = await register(api)
    job = await api.submit(webhook={"url": "https://a.example/hook"})
    await api.life.fail(job)
    await tried(api, "HTTP 503", 503)
    of_job = (await api.client.get(path(job, "/deliveries"))).json()
    assert (of_job["object"], of_job["has_more"], of_job["next_cursor"]) == ("list", False, None)
    assert {each["url"] for each in of_job["data"]} == {URL, "https://a.example/hook"}
    (shown,) = (await api.client.get(f"{endpoint}/deliveries")).json()["data"]
    assert shown in of_job["data"]
    assert (await api.client.get(f"/v1/deliveries/{shown['id']}")).json() == shown
    assert {name: shown[name] for name in ("object", "type", "job_id", "endpoint_id", "state")} == {
        "object": "delivery", "type": "job.failed", "job_id": ids.text(ids.JOB, job),
        "endpoint_id": endpoint.rpartition("/")[2], "state": "pending",
    }  # fmt: skip
    assert shown["id"].startswith("dlv_")
    assert shown["event_id"].startswith("evt_")
    assert (bool(shown["next_try_at"]), shown["finished_at"]) == (True, None)
    (first,) = shown["tries"]
    assert first.pop("at")
    assert first == {"number": 1, "http_status": 503, "latency_ms": 120, "result": "HTTP 503"}


async def test_a_finished_delivery_has_an_end_and_no_next_try(api: Api) -> None:
    endpoint = await register(api)
    await told(api, endpoint, "delivered")
    (shown,) = (await api.client.get(f"{endpoint}/deliveries")).json()["data"]
    assert (bool(shown["finished_at"]), shown["next_try_at"]) == (True, None)


async def test_a_job_without_webhooks_has_no_deliveries(api: Api) -> None:
    job = await api.submit()
    await api.life.fail(job)
    assert (await api.client.get(path(job, "/deliveries"))).json()["data"] == []


async def test_pages_have_neither_gaps_nor_doubles_while_deliveries_arise(api: Api) -> None:
    endpoint = await register(api)
    made = await told(api, endpoint, *[PENDING] * 5)
    seen: list[str] = []
    params: dict[str, str | int] = {"limit": 2}
    while True:
        page = (await api.client.get(f"{endpoint}/deliveries", params=params)).json()
        seen += [each["id"] for each in page["data"]]
        await api.life.fail(await api.submit())
        if not page["has_more"]:
            break
        assert len(page["data"]) == 2
        params["cursor"] = page["next_cursor"]
    assert seen == list(reversed(made))
    assert page["next_cursor"] is None


async def test_a_log_is_narrowed_by_state(api: Api) -> None:
    endpoint = await register(api)
    done, lost, _ = await told(api, endpoint, "delivered", "exhausted", "pending")
    for state, expected in {"delivered": [done], "exhausted": [lost], "held": []}.items():
        page = await api.client.get(f"{endpoint}/deliveries", params={"state": state})
        assert [each["id"] for each in page.json()["data"]] == expected
    (job,) = {str((await one(api, lost))["job_id"])}
    page = await api.client.get(f"/v1/jobs/{job}/deliveries", params={"state": "delivered"})
    assert page.json()["data"] == []


async def one(api: Api, delivery: str) -> Body:
    """Read one delivery over HTTP."""
    answer = await api.client.get(f"/v1/deliveries/{delivery}")
    assert answer.status_code == 200, answer.text
    shown: Body = answer.json()
    return shown


@pytest.mark.parametrize("of", ["endpoint", "job"])
@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"limit": "0"}, "query:limit"),
        ({"limit": "101"}, "query:limit"),
        ({"state": "lost"}, "query:state"),
        ({"cursor": "x"}, "query:cursor"),
        ({"cursor": "é"}, "query:cursor"),
        ({"cursor": "A" * 65}, "query:cursor"),
        ({"status": "held"}, "query:status"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(
    api: Api, of: str, params: dict[str, str], named: str
) -> None:
    where = await register(api) if of == "endpoint" else path(await api.submit())
    answer = await api.client.get(f"{where}/deliveries", params=params)
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == [named]


# Sending one again.


@pytest.mark.parametrize("state", ["delivered", "exhausted", "blocked", "aborted"])
async def test_what_has_ended_is_sent_again_with_the_same_id_and_a_fresh_schedule(
    api: Api, state: DeliveryState
) -> None:
    (delivery,) = await told(api, await register(api), state)
    before = await one(api, delivery)
    answer = await api.client.post(f"/v1/deliveries/{delivery}/redeliver")
    assert answer.status_code == 202
    again = answer.json()
    assert (again["state"], again["event_id"], again["finished_at"]) == (
        "pending", before["event_id"], None,
    )  # fmt: skip
    assert again["tries"] == before["tries"], "the log forgets nothing"
    assert again["next_try_at"]
    await tried(api, "delivered", 200, "delivered")
    after = (await api.client.get(f"/v1/deliveries/{delivery}")).json()["tries"]
    assert [each["number"] for each in after] == [1, 2]


async def test_a_jobs_own_webhook_is_sent_again_too(api: Api) -> None:
    job = await api.submit(webhook={"url": URL})
    await api.life.fail(job)
    await tried(api, "410 Gone", 410, "aborted")
    (delivery,) = (await api.client.get(path(job, "/deliveries"))).json()["data"]
    answer = await api.client.post(f"/v1/deliveries/{delivery['id']}/redeliver")
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")


async def test_what_is_under_way_is_not_sent_twice(api: Api) -> None:
    (delivery,) = await told(api, await register(api), "pending")
    said = problem(await api.client.post(f"/v1/deliveries/{delivery}/redeliver"), 409, "conflict")
    assert "on its way" in str(said["detail"])


async def test_nothing_is_sent_again_to_a_disabled_or_deleted_endpoint(api: Api) -> None:
    endpoint = await register(api)
    (delivery,) = await told(api, endpoint, "exhausted")
    await api.client.patch(endpoint, json={"enabled": False})
    again = f"/v1/deliveries/{delivery}/redeliver"
    said = problem(await api.client.post(again), 409, "conflict")
    assert "enable it first" in str(said["detail"])
    said = problem(await api.client.post(f"{endpoint}/replay"), 409, "conflict")
    assert "enable it first" in str(said["detail"])
    await api.client.delete(endpoint)
    said = problem(await api.client.post(again), 409, "conflict")
    assert "deleted" in str(said["detail"])
    assert (await one(api, delivery))["state"] == "exhausted"


# Replaying.

EVERY: tuple[DeliveryState, ...] = (
    "delivered", "exhausted", "blocked", "aborted", "held", "pending",
)  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "moved"),
    [
        ({}, {"exhausted", "blocked", "aborted", "held"}),
        ({"status": None}, {"exhausted", "blocked", "aborted", "held"}),
        ({"status": "failed"}, {"exhausted", "blocked", "aborted"}),
        ({"status": "held"}, {"held"}),
        ({"status": "exhausted"}, {"exhausted"}),
        ({"status": "blocked"}, {"blocked"}),
        ({"status": "aborted"}, {"aborted"}),
    ],
)
async def test_a_replay_sends_what_was_asked_for_and_only_once(
    api: Api, asked: Body, moved: set[str]
) -> None:
    endpoint = await register(api)
    await told(api, endpoint, *EVERY)
    assert await replay(api, endpoint, **asked) == {
        "object": "replay", "replayed": len(moved), "has_more": False, "next_cursor": None,
    }  # fmt: skip
    expected = ["pending" if state in moved else state for state in EVERY]
    assert await states(api, endpoint) == expected
    assert (await replay(api, endpoint, **asked))["replayed"] == 0


async def test_a_replay_without_a_body_is_of_everything_that_was_missed(api: Api) -> None:
    endpoint = await register(api)
    await told(api, endpoint, "exhausted", "held")
    answer = await api.client.post(f"{endpoint}/replay")
    assert (answer.status_code, answer.json()["replayed"]) == (200, 2)


async def test_a_replay_is_bounded_by_when_deliveries_arose(api: Api) -> None:
    endpoint = await register(api)
    made = await told(api, endpoint, *[EXHAUSTED] * 3)
    times = [str((await one(api, each))["created_at"]) for each in made]
    await api.life.alter(
        "UPDATE deliveries SET created_at = date_trunc('milliseconds', created_at)"
    )
    assert (await replay(api, endpoint, since=times[1], until=times[2]))["replayed"] == 1
    assert await states(api, endpoint) == ["exhausted", "pending", "exhausted"]
    assert (await replay(api, endpoint, since=times[2]))["replayed"] == 1
    assert (await replay(api, endpoint, until=times[0]))["replayed"] == 0
    whole = {"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}
    assert (await replay(api, endpoint, **whole))["replayed"] == 1


async def test_a_long_replay_goes_on_from_its_cursor_and_does_not_grow(api: Api) -> None:
    endpoint = await register(api)
    await told(api, endpoint, "exhausted")
    await api.life.alter(_COPIES)
    first = await replay(api, endpoint, status="failed")
    assert (first["replayed"], first["has_more"]) == (1000, True)
    (late,) = await told(api, endpoint, "pending")  # arises after the replay began, and fails
    await api.life.alter(_FAIL, id=ids.parse(ids.DELIVERY, late))
    second = await replay(api, endpoint, cursor=first["next_cursor"])
    assert (second["replayed"], second["has_more"], second["next_cursor"]) == (21, False, None)
    assert (await replay(api, endpoint, cursor=first["next_cursor"]))["replayed"] == 0, "again"
    assert (await replay(api, endpoint, status="failed"))["replayed"] == 1, "what arose meanwhile"


_FAIL = (
    "UPDATE deliveries SET state = 'blocked', next_at = NULL, finished_at = now() WHERE id = :id"
)
# Its 1,020 copies have ids after its own: the same time, and other random bits.
_COPIES = """
    INSERT INTO deliveries (id, project_id, event_id, endpoint_id, job_id, url, lane, state,
                            next_at, created_at, finished_at)
    SELECT overlay(id::text PLACING lpad(n::text, 12, '0') FROM 25)::uuid, project_id, event_id,
           endpoint_id, job_id, url, lane, state, next_at, created_at, finished_at
      FROM deliveries, generate_series(1, 1020) AS n
"""


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({"since": "yesterday"}, "/since"),
        ({"since": "2026-01-01T00:00:00"}, "/since"),
        ({"until": 1}, "/until"),
        ({"status": "delivered"}, "/status"),
        ({"status": ["held"]}, "/status"),
        ({"limit": 5}, "/limit"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-02T00:00:00Z"}, ""),
        ({"cursor": "x"}, "/cursor"),
        ({"cursor": "é"}, "/cursor"),
        ({"cursor": "A" * 513}, "/cursor"),
        ({"cursor": urlsafe_b64encode(b'{"until": 5}').decode()}, "/cursor"),
        ({"cursor": "x", "status": "held"}, ""),
    ],
)
async def test_a_replay_that_cannot_be_is_refused(api: Api, sent: Body, named: str) -> None:
    answer = await api.client.post(f"{await register(api)}/replay", json=sent)
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == [named]


async def test_a_cursor_of_a_replay_is_believed_only_so_far(api: Api) -> None:
    endpoint = await register(api)
    far = b'{"since":"0001-01-01T00:00:00Z","until":"9999-12-31T23:59:59Z","status":"held"}'
    assert (await replay(api, endpoint, cursor=urlsafe_b64encode(far).decode()))["replayed"] == 0


# How it went lately.


async def test_an_endpoint_tells_how_it_has_answered_hour_by_hour(api: Api) -> None:
    endpoint = await register(api)
    nothing = (await api.client.get(f"{endpoint}/health")).json()
    assert (nothing["tries"], nothing["succeeded"], nothing["median_ms"]) == (0, 0, None)
    for ms in (10, 20, 30, 400):
        await api.life.fail(await api.submit())
        await tried(api, "HTTP 204", 204, "delivered", timedelta(milliseconds=ms))
    await told(api, endpoint, "exhausted")
    said = (await api.client.get(f"{endpoint}/health")).json()
    assert {
        "object": "webhook.health",
        "endpoint_id": endpoint.rpartition("/")[2],
    }.items() <= said.items()
    assert [said[each] for each in ("tries", "succeeded", "median_ms", "p95_ms")] == [5, 4, 20, 400]
    assert len(said["hours"]) == 24
    assert sum(each["tries"] for each in said["hours"][-2:]) == 5, "the hour may just have changed"


async def test_what_was_long_ago_stands_in_its_hour_and_then_in_none(api: Api) -> None:
    endpoint = await register(api)
    await told(api, endpoint, "exhausted")
    last = (await api.client.get(f"{endpoint}/health")).json()["hours"][-1]["at"]
    for hours, there in ((3, True), (22, True), (24, False)):  # the hour may change meanwhile
        begun = datetime.fromisoformat(last) - timedelta(hours=hours)
        await api.life.alter(_MOVED, id=ids.first_at(begun + timedelta(minutes=7)))
        said = (await api.client.get(f"{endpoint}/health")).json()
        full = [each["at"] for each in said["hours"] if each["tries"]]
        assert [datetime.fromisoformat(each) for each in full] == [begun] * there
        assert said["tries"] == int(there)


async def test_the_newest_of_a_busy_hour_are_looked_at(api: Api) -> None:
    endpoint = await register(api)
    await told(api, endpoint, "exhausted")
    await api.life.alter(_BUSY)
    said = (await api.client.get(f"{endpoint}/health")).json()
    assert said["tries"] in {50, 51}, "one more where the hour has just changed"
    assert said["succeeded"] == 50


_MOVED = """
    WITH moved AS (UPDATE deliveries SET id = :id RETURNING id)
    UPDATE delivery_tries SET delivery_id = (SELECT id FROM moved)
"""
# A hundred that came after it in the same millisecond, and were delivered.
_BUSY = """
    WITH more AS (
        INSERT INTO deliveries (id, project_id, event_id, endpoint_id, job_id, url, lane, state, tries,
                                next_at, created_at, finished_at)
        SELECT CAST(left(CAST(id AS text), 14) || '7fff-8fff-ffffffff' || lpad(to_hex(n), 4, '0') AS uuid),
               project_id, event_id, endpoint_id, job_id, url, lane, 'delivered', 1, NULL,
               created_at, finished_at
          FROM deliveries, generate_series(1, 100) n
        RETURNING id)
    INSERT INTO delivery_tries (delivery_id, number, at, http_status, latency_ms, result)
    SELECT id, 1, now(), 200, 5, 'HTTP 200' FROM more
"""


# Other projects.


async def test_deliveries_of_others_look_like_nobodys(api: Api) -> None:
    endpoint = await register(api)
    (delivery,) = await told(api, endpoint, "exhausted")
    other = await api.another_project()
    nobodys = ids.text(ids.DELIVERY, UUID(int=5))
    for where in (delivery, nobodys, "dlv_nonsense"):
        answers = [
            await api.client.get(f"/v1/deliveries/{where}", headers=other),
            await api.client.post(f"/v1/deliveries/{where}/redeliver", headers=other),
        ]
        for answer in answers:
            said = problem(answer, 404, "not_found")
            assert said["detail"] == "There is no such delivery in this project."
    assert (await one(api, delivery))["state"] == "exhausted"


async def test_a_cursor_shows_nothing_of_others(api: Api) -> None:
    endpoint = await register(api)
    await told(api, endpoint, "pending", "pending")
    page = (await api.client.get(f"{endpoint}/deliveries", params={"limit": 1})).json()
    assert len(urlsafe_b64decode(page["next_cursor"] + "==")) == 16
    other = await api.another_project()
    theirs: httpx.Response = await api.client.post("/v1/webhooks", json={"url": URL}, headers=other)
    seen = await api.client.get(
        f"/v1/webhooks/{theirs.json()['id']}/deliveries",
        params={"cursor": page["next_cursor"]}, headers=other,
    )  # fmt: skip
    assert seen.json()["data"] == []
