"""Replays, redeliveries and pings: what is sent again, once, and what is only shown."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from models import ids
from models.errors import Conflict, NotFound
from models.platform.vault import Vault
from models.webhooks import deliveries, endpoints
from models.webhooks.deliveries import TryResult
from models.webhooks.endpoints import Wish
from tests.conftest import make_project
from tests.fixtures.making import Bench
from tests.fixtures.sending import (
    BLOCKED,
    BUSY,
    DELIVERED,
    EXHAUSTED,
    GIVEN_UP,
    GONE,
    LATER,
    NOTHING,
    URL,
    change,
    endpoint,
    find,
    finished,
    one_more,
    reap,
    record,
    redeliver,
    registered,
    replay,
    sending,
    states,
    take,
    wake,
)


async def ids_of(bench: Bench) -> list[UUID]:
    return [row["id"] for row in await bench.rows("SELECT id FROM deliveries ORDER BY id")]


# Replays.


async def test_what_was_held_is_replayed_once_however_often_it_is_asked_for(
    bench: Bench, vault: Vault
) -> None:
    made, woken = await sending(bench, vault)
    await record(bench, woken, GONE)
    for _ in range(4):
        await finished(bench)
    with pytest.raises(Conflict, match="410 Gone"):
        await replay(bench, made)
    await change(bench, made, enabled=True)
    assert [state for state, _ in await states(bench)] == ["held"] * 5

    replayed = await asyncio.gather(*(replay(bench, made) for _ in range(4)))
    assert sorted(each.count for each in replayed) == [0, 0, 0, 5]
    assert (await replay(bench, made)).count == 0

    sent = await wake(bench)
    assert [number for _, number in sent] == [2, 1, 1, 1, 1], "tries count on, oldest first"
    parcel = await take(bench, vault, sent[0])
    assert parcel is not None
    assert (parcel.number, parcel.nth) == (2, 1), "and the schedule begins anew"
    assert [id_ for id_, _ in sent] == await ids_of(bench)


async def test_a_replay_goes_on_from_where_it_broke_off(bench: Bench, vault: Vault) -> None:
    made, _ = await registered(bench, vault, Wish(URL, enabled=False))
    for _ in range(5):
        await finished(bench)
    await change(bench, made, enabled=True)
    all_ = await ids_of(bench)
    first = await replay(bench, made, limit=2)
    assert (first.count, first.next_after) == (2, all_[1])
    assert [state for state, _ in await states(bench)] == ["pending"] * 2 + ["held"] * 3
    second = await replay(bench, made, limit=2, after=first.next_after)
    last = await replay(bench, made, limit=2, after=second.next_after)
    assert [(each.count, each.next_after) for each in (second, last)] == [
        (2, all_[3]), (1, None),
    ]  # fmt: skip


async def test_a_replay_takes_the_states_and_the_time_that_were_asked_for(
    bench: Bench, vault: Vault
) -> None:
    made = await endpoint(bench, vault)
    for met in (EXHAUSTED, BLOCKED, GIVEN_UP, DELIVERED, EXHAUSTED):
        await record(bench, await one_more(bench, vault), met)
    await finished(bench)
    for n, id_ in enumerate(await ids_of(bench)):
        await bench.run(
            "UPDATE deliveries SET created_at = created_at - make_interval(secs => :back)"
            " WHERE id = :id",
            back=600 - n,
            id=id_,
        )
    rows = await bench.rows("SELECT created_at FROM deliveries ORDER BY id")
    second, fifth = rows[1]["created_at"], rows[4]["created_at"]

    found = await replay(
        bench, made, "exhausted", "blocked", "pending", "sending", since=second, until=fifth
    )

    assert found.count == 1
    assert [state for state, _ in await states(bench)] == [
        "exhausted", "pending", "aborted", "delivered", "exhausted", "pending",
    ]  # fmt: skip
    assert (await replay(bench, made, "exhausted")).count == 2


async def test_nobody_replays_another_projects_endpoint(bench: Bench, vault: Vault) -> None:
    made = await endpoint(bench, vault)
    stranger = Bench(
        bench.database, bench.presenter, (await make_project(bench.database, vault, "x"))[0]
    )
    await finished(bench)
    (delivery_id,) = await ids_of(bench)
    with pytest.raises(NotFound):
        await replay(stranger, made)
    with pytest.raises(NotFound):
        await redeliver(stranger, delivery_id)
    with pytest.raises(NotFound):
        await bench.do(lambda tx: deliveries.read(tx, stranger.caller.project_id, delivery_id))
    with pytest.raises(NotFound):
        await bench.do(lambda tx: deliveries.ping(tx, stranger.caller.project_id, made.id))


async def test_a_replay_goes_to_the_present_url(bench: Bench, vault: Vault) -> None:
    made, woken = await sending(bench, vault)
    await record(bench, woken, EXHAUSTED)
    await change(bench, made, url=URL + "/moved")
    await replay(bench, made, "exhausted")
    assert [row["url"] for row in await bench.rows("SELECT url FROM deliveries")] == [
        URL + "/moved"
    ]


# Redeliveries.


async def test_what_is_finished_may_be_sent_again(bench: Bench, vault: Vault) -> None:
    await endpoint(bench, vault)
    for end in (DELIVERED, EXHAUSTED, BLOCKED, GIVEN_UP):
        woken = await one_more(bench, vault)
        await record(bench, woken, end)

        logged = await redeliver(bench, woken[0])

        assert (logged.delivery.state, logged.delivery.finished_at) == ("pending", None)
        assert logged.next_try_at is not None
        assert [each.number for each in logged.tries] == [1]
        (again,) = await wake(bench)
        parcel = await take(bench, vault, again)
        assert parcel is not None
        assert (parcel.number, parcel.nth) == (2, 1)
        assert parcel.event_id == logged.delivery.event_id


async def test_what_is_on_its_way_is_not_sent_again(bench: Bench, vault: Vault) -> None:
    _, woken = await sending(bench, vault)
    for met in (None, LATER):
        if met is not None:
            await record(bench, woken, met)
        with pytest.raises(Conflict, match="on its way"):
            await redeliver(bench, woken[0])
    with pytest.raises(NotFound):
        await redeliver(bench, uuid4())


A_DAY = replace(BUSY, next_in=timedelta(days=1), pause=timedelta(days=1))


@pytest.mark.parametrize("own_url", [True, False], ids=["job's URL", "endpoint"])
async def test_what_waits_because_its_receiver_asked_for_it_is_sent_by_hand_all_the_same(
    bench: Bench, vault: Vault, *, own_url: bool
) -> None:
    """Its destination is paused for a day, and slow; another try of it is under way."""
    made = None if own_url else await endpoint(bench, vault)
    for _ in range(3):
        await finished(bench, webhook_url=URL if own_url else None)
    first, second, _ = await wake(bench)
    for each in (first, second):
        await take(bench, vault, each)
    await record(bench, first, A_DAY)
    assert await wake(bench) == []

    shown = await redeliver(bench, first[0])

    with pytest.raises(Conflict, match="on its way"):
        await redeliver(bench, first[0])
    assert shown.next_try_at is not None
    assert shown.next_try_at <= datetime.now(UTC) + timedelta(minutes=1)
    (again,) = await wake(bench)
    assert again[0] == first[0]
    parcel = await take(bench, vault, again)
    assert parcel is not None
    assert (parcel.nth, parcel.url) == (1, URL)
    await record(bench, again, A_DAY)
    assert await wake(bench) == [], "as before: by hand it was sent once"
    (lane,) = await bench.rows("SELECT DISTINCT lane FROM deliveries")
    assert (lane["lane"] == str(made.id)) if made else lane["lane"].endswith(":443")


async def test_a_success_by_hand_ends_the_pause_and_the_others_go_one_at_a_time(
    bench: Bench, vault: Vault
) -> None:
    for _ in range(4):
        await finished(bench, webhook_url=URL)
    (first, *_) = await wake(bench, 1)
    await take(bench, vault, first)
    await record(bench, first, A_DAY)
    await redeliver(bench, first[0])
    (again,) = await wake(bench)
    await take(bench, vault, again)
    assert await record(bench, again, DELIVERED) == "delivered"
    (one,) = await wake(bench)
    assert await take(bench, vault, one) is not None
    await record(bench, one, DELIVERED)
    assert len(await wake(bench)) == 2


async def test_two_redeliveries_at_once_send_it_once(bench: Bench, vault: Vault) -> None:
    _, woken = await sending(bench, vault)
    await record(bench, woken, EXHAUSTED)
    met = await asyncio.gather(
        *(redeliver(bench, woken[0]) for _ in range(4)), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in met) == ["Conflict"] * 3 + ["Logged"]


async def test_nothing_is_sent_again_to_an_endpoint_that_is_disabled_or_gone(
    bench: Bench, vault: Vault
) -> None:
    made, woken = await sending(bench, vault)
    await record(bench, woken, EXHAUSTED)
    await change(bench, made, enabled=False)
    with pytest.raises(Conflict, match="disabled by its project"):
        await redeliver(bench, woken[0])
    await bench.do(lambda tx: endpoints.remove(tx, bench.caller.project_id, made.id))
    with pytest.raises(Conflict, match="deleted"):
        await redeliver(bench, woken[0])


async def test_a_jobs_own_delivery_may_be_sent_again_too(bench: Bench, vault: Vault) -> None:
    await finished(bench, webhook_url=URL)
    (woken,) = await wake(bench)
    await take(bench, vault, woken)
    await record(bench, woken, EXHAUSTED)
    assert (await redeliver(bench, woken[0])).delivery.state == "pending"


async def test_a_held_delivery_may_be_sent_alone_once_its_endpoint_is_enabled(
    bench: Bench, vault: Vault
) -> None:
    made, _ = await registered(bench, vault, Wish(URL, enabled=False))
    await finished(bench)
    await finished(bench)
    await change(bench, made, enabled=True)
    await redeliver(bench, (await ids_of(bench))[1])
    assert [state for state, _ in await states(bench)] == ["held", "pending"]


# Pings.


async def ping(bench: Bench, endpoint_id: UUID) -> UUID:
    return await bench.do(lambda tx: deliveries.ping(tx, bench.caller.project_id, endpoint_id))


async def test_a_ping_is_held_up_by_nothing(bench: Bench, vault: Vault) -> None:
    """Its endpoint is disabled, its destination paused, its rate used up, and eight tries hang."""
    made, _ = await registered(bench, vault, Wish(URL, rate_limit=1))
    for _ in range(9):
        await finished(bench)
    await wake(bench)
    await bench.run(
        "INSERT INTO lanes (lane, slow, paused_until, free_at)"
        " VALUES (:lane, true, now() + interval '1 h', now() + interval '1 h')"
        " ON CONFLICT (lane) DO UPDATE SET paused_until = excluded.paused_until",
        lane=str(made.id),
    )
    await change(bench, made, enabled=False)

    delivery_id = await ping(bench, made.id)

    (woken,) = await wake(bench)
    parcel = await take(bench, vault, woken)
    assert parcel is not None
    assert (parcel.delivery_id, parcel.ping, parcel.endpoint_id) == (delivery_id, True, made.id)
    event = json.loads(parcel.body)
    assert (event["type"], event["data"]["endpoint_id"]) == (
        "ping", ids.text(ids.ENDPOINT, made.id),
    )  # fmt: skip
    assert event["timestamp"]
    assert len(parcel.secrets) == 2


async def test_what_comes_of_a_ping_touches_nothing_else_and_is_rung(
    bench: Bench, vault: Vault, rings: list[tuple[str, str]]
) -> None:
    made, woken = await sending(bench, vault)
    await record(bench, woken, LATER)
    before = await find(bench, made)
    for met, state in (
        (DELIVERED, "delivered"), (EXHAUSTED, "exhausted"), (BLOCKED, "blocked"),
        (GONE, "exhausted"), (BUSY, "exhausted"), (GIVEN_UP, "aborted"),
    ):  # fmt: skip
        delivery_id = await ping(bench, made.id)
        (sent,) = await wake(bench)
        await take(bench, vault, sent)
        rings.clear()

        assert await record(bench, sent, met) == state

        assert ("delivery", str(delivery_id)) in rings
        after = await find(bench, made)
        assert (after.enabled, after.failing_since, after.failing_deliveries) == (
            True, before.failing_since, 1,
        )  # fmt: skip
        assert await bench.rows("SELECT 1 FROM lanes WHERE slow OR lane LIKE 'ping:%'") == []


async def test_a_ping_that_was_lost_with_its_worker_is_not_sent_twice(
    bench: Bench, vault: Vault
) -> None:
    made = await endpoint(bench, vault)
    await ping(bench, made.id)
    await wake(bench)
    assert await reap(bench) == 1
    assert await states(bench) == [("pending", 0)], "nobody had taken it"
    (woken,) = await wake(bench)
    await take(bench, vault, woken)
    assert await reap(bench) == 1
    assert await states(bench) == [("exhausted", 1)]


async def test_a_ping_to_an_endpoint_that_was_deleted_meanwhile_is_aborted(
    bench: Bench, vault: Vault, rings: list[tuple[str, str]]
) -> None:
    made = await endpoint(bench, vault)
    delivery_id = await ping(bench, made.id)
    (woken,) = await wake(bench)
    await bench.do(lambda tx: endpoints.remove(tx, bench.caller.project_id, made.id))
    rings.clear()
    assert await take(bench, vault, woken) is None
    assert await states(bench) == [("aborted", 0)]
    assert ("delivery", str(delivery_id)) in rings


async def test_a_ping_is_not_replayed(bench: Bench, vault: Vault) -> None:
    made = await endpoint(bench, vault)
    await ping(bench, made.id)
    (woken,) = await wake(bench)
    await take(bench, vault, woken)
    await record(bench, woken, EXHAUSTED)
    assert (await replay(bench, made, "exhausted")).count == 0


# The log.


async def test_the_log_is_read_page_by_page_and_by_state(bench: Bench, vault: Vault) -> None:
    made = await endpoint(bench, vault)
    for met in (DELIVERED, EXHAUSTED, DELIVERED):
        await record(bench, await one_more(bench, vault), met)
    newest_first = list(reversed(await ids_of(bench)))

    async def page(before: UUID | None, *wanted: str) -> tuple[list[UUID], bool]:
        found, more = await bench.do(
            lambda tx: deliveries.log(
                tx, endpoint_id=made.id, before=before, limit=2, states=wanted  # type: ignore[arg-type] # words of the schema
            )
        )  # fmt: skip
        return [each.delivery.id for each in found], more

    assert await page(None) == (newest_first[:2], True)
    assert await page(newest_first[1]) == (newest_first[2:], False)
    assert await page(None, "exhausted") == ([newest_first[1]], False)


async def test_one_delivery_is_read_with_its_tries(bench: Bench, vault: Vault) -> None:
    _, woken = await sending(bench, vault)
    late = TryResult("pending", "timeout", None, NOTHING, next_in=timedelta(hours=1))
    await record(bench, woken, late)
    logged = await bench.do(lambda tx: deliveries.read(tx, bench.caller.project_id, woken[0]))
    assert (logged.type, [each.result for each in logged.tries]) == ("job.canceled", ["timeout"])
    assert logged.next_try_at is not None
    assert logged.next_try_at > datetime.now(UTC) + timedelta(minutes=50)
