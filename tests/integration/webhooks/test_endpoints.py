"""Endpoints: what a project may change of them, their secrets, and when they are disabled."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from psycopg.rows import DictRow

from models import ids
from models.accounts import projects
from models.errors import NotFound
from models.platform.vault import Vault
from models.schema import Endpoint
from models.states import TERMINAL_EVENTS
from models.webhooks import endpoint_secrets, endpoints, signing
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
    URL,
    change,
    endpoint,
    find,
    finished,
    one_more,
    record,
    registered,
    sending,
    states,
    take,
    taken,
    tried_again,
    wake,
)


async def rotate(bench: Bench, vault: Vault, made: Endpoint) -> tuple[Endpoint, str]:
    project_id = bench.caller.project_id
    return await bench.do(lambda tx: endpoints.rotate(tx, vault, project_id, made.id))


async def failing(bench: Bench, since: str, deliveries: int) -> None:
    """Let an endpoint have failed for a time, over so many deliveries."""
    await bench.run(
        "UPDATE endpoints SET failing_since = now() - CAST(:since AS interval),"
        " failing_deliveries = :n WHERE failing_since IS NOT NULL",
        since=since,
        n=deliveries,
    )


async def told(bench: Bench) -> Sequence[DictRow]:
    return await bench.rows(
        "SELECT d.endpoint_id, d.state, e.body FROM deliveries d JOIN events e ON e.id = d.event_id"
        " WHERE e.type = 'webhook.disabled' ORDER BY d.id"
    )


# Registering and changing.


async def test_an_endpoint_has_a_shared_secret_and_a_pair(bench: Bench, vault: Vault) -> None:
    made, secret = await registered(bench, vault, Wish(URL, ["job.failed"], "the shop", 5))
    now = datetime.now(UTC)
    shared, private = endpoint_secrets.secrets(vault, made, now)
    assert shared == secret
    assert endpoint_secrets.public_keys(vault, made, now) == [signing.public_key(private)]
    assert (made.events, made.description, made.rate_limit, made.enabled) == (
        ["job.failed"], "the shop", 5, True,
    )  # fmt: skip


async def test_an_endpoint_may_be_registered_disabled(bench: Bench, vault: Vault) -> None:
    made, _ = await registered(bench, vault, Wish(URL, enabled=False))
    assert (made.enabled, made.disabled_reason) == (False, "disabled by its project")
    assert made.disabled_at is not None
    await finished(bench)
    assert await states(bench) == [("held", 0)]


async def test_only_what_is_given_changes(bench: Bench, vault: Vault) -> None:
    made, _ = await registered(bench, vault, Wish(URL, ["job.failed"], "the shop", 5))
    changed = await change(bench, made, description="the till", rate_limit=None)
    assert (changed.url, changed.events, changed.description, changed.rate_limit) == (
        URL, ["job.failed"], "the till", None,
    )  # fmt: skip
    assert (await change(bench, made, events=[])).events == list(TERMINAL_EVENTS)
    assert (await change(bench, made)).description == "the till"


async def test_nobody_changes_the_endpoint_of_another_project(bench: Bench, vault: Vault) -> None:
    made = await endpoint(bench, vault)
    stranger = Bench(
        bench.database, bench.presenter, (await make_project(bench.database, vault, "x"))[0]
    )
    with pytest.raises(NotFound):
        await change(stranger, made, enabled=False)
    with pytest.raises(NotFound):
        await rotate(stranger, vault, made)
    await bench.do(lambda tx: endpoints.remove(tx, bench.caller.project_id, made.id))
    with pytest.raises(NotFound):
        await change(bench, made, enabled=True)


async def test_a_disabled_endpoint_holds_what_is_pending_and_what_comes(
    bench: Bench, vault: Vault
) -> None:
    made = await endpoint(bench, vault)
    await finished(bench)
    off = await change(bench, made, enabled=False)
    await finished(bench)

    assert (off.enabled, off.disabled_reason) == (False, "disabled by its project")
    assert await states(bench) == [("held", 0), ("held", 0)]
    assert await told(bench) == []

    on = await change(bench, made, enabled=True)
    assert (on.enabled, on.disabled_reason, on.disabled_at) == (True, None, None)
    await finished(bench)
    assert [state for state, _ in await states(bench)] == ["held", "held", "pending"]


async def test_a_new_url_takes_along_what_is_pending_held_and_on_its_way(
    bench: Bench, vault: Vault
) -> None:
    made = await endpoint(bench, vault)
    await finished(bench)
    ((delivery_id, number),) = await wake(bench)
    await finished(bench)
    moved = URL + "/moved"
    await change(bench, made, url=moved)
    rows = await bench.rows("SELECT state, url FROM deliveries ORDER BY id")
    assert [(row["state"], row["url"]) for row in rows] == [("sending", URL), ("pending", moved)]

    parcel = await take(bench, vault, (delivery_id, number))

    assert parcel is not None
    assert parcel.url == moved
    await change(bench, made, enabled=False)
    await change(bench, made, url=URL)
    assert [row["url"] for row in await bench.rows("SELECT url FROM deliveries ORDER BY id")] == [
        moved, URL,
    ]  # fmt: skip


async def test_what_was_met_at_the_old_url_does_not_count_at_the_new_one(
    bench: Bench, vault: Vault
) -> None:
    made = await endpoint(bench, vault)
    for n, met in enumerate((GONE, LATER, EXHAUSTED, BLOCKED)):
        woken = await one_more(bench, vault)
        await change(bench, made, url=f"{URL}/{n}")

        assert await record(bench, woken, met) == "pending"

        now = await find(bench, made)
        assert (now.enabled, now.failing_since) == (True, None)
        at_once = await taken(bench, vault)
        assert at_once == (woken[0], 2)
        await record(bench, at_once, DELIVERED)


async def test_mending_an_endpoint_lifts_what_slowed_it(bench: Bench, vault: Vault) -> None:
    made, woken = await sending(bench, vault)
    await record(bench, woken, BUSY)
    await change(bench, made, enabled=False)
    await change(bench, made, enabled=True)
    await finished(bench)
    assert len(await wake(bench)) == 1


# Secrets.


async def test_during_a_rotation_everything_is_signed_by_old_and_new(
    bench: Bench, vault: Vault
) -> None:
    made, first = await registered(bench, vault, Wish(URL))
    (old_key,) = endpoint_secrets.public_keys(vault, made, datetime.now(UTC))
    rotated, second = await rotate(bench, vault, made)
    await finished(bench)
    (woken,) = await wake(bench)
    parcel = await take(bench, vault, woken)

    assert parcel is not None
    assert [parcel.secrets[0], parcel.secrets[2]] == [second, first]
    signature = signing.sign(parcel.secrets, "evt_1", 1, b"{}").split()
    assert [each.partition(",")[0] for each in signature] == ["v1", "v1a", "v1", "v1a"]
    now = datetime.now(UTC)
    keys = endpoint_secrets.public_keys(vault, rotated, now)
    assert keys == [signing.public_key(parcel.secrets[1]), old_key]
    assert endpoint_secrets.public_keys(vault, rotated, now + timedelta(hours=25)) == keys[:1]
    await bench.run("UPDATE endpoints SET rotated_at = now() - interval '25 h'")
    assert endpoint_secrets.secrets(vault, await find(bench, made), now) == parcel.secrets[:2]


async def test_an_endpoint_from_before_the_pairs_works_and_gets_one_at_its_rotation(
    bench: Bench, vault: Vault
) -> None:
    made, _ = await registered(bench, vault, Wish(URL))
    alone = signing.new_secret()
    sealed = vault.seal(alone, b"endpoint:" + made.id.bytes)
    await bench.run("UPDATE endpoints SET secret = :sealed", sealed=sealed)
    await finished(bench)
    (woken,) = await wake(bench)
    parcel = await take(bench, vault, woken)

    assert parcel is not None
    assert parcel.secrets == (alone,)
    assert endpoint_secrets.public_keys(vault, await find(bench, made), datetime.now(UTC)) == []
    rotated, fresh = await rotate(bench, vault, made)
    now = datetime.now(UTC)
    assert len(endpoint_secrets.public_keys(vault, rotated, now)) == 1
    shared, _, old = endpoint_secrets.secrets(vault, rotated, now)
    assert (shared, old) == (fresh, alone)


# When an endpoint is disabled by itself.


async def test_a_410_is_told_to_the_projects_other_endpoints_once(
    bench: Bench, vault: Vault
) -> None:
    listens = ("job.canceled", "webhook.disabled")
    gone = await endpoint(bench, vault, *listens)
    witness = await endpoint(bench, vault, "webhook.disabled", url=URL + "/witness")
    await endpoint(bench, vault, "job.failed", url=URL + "/other")
    for _ in range(3):
        await finished(bench)
    woken = await wake(bench)
    for each in woken:
        assert await take(bench, vault, each)
    assert [await record(bench, each, GONE) for each in woken] == ["held"] * 3

    (notice,) = await told(bench)
    assert (notice["endpoint_id"], notice["state"]) == (witness.id, "pending")
    event = json.loads(notice["body"])
    assert event["type"] == "webhook.disabled"
    data = event["data"]
    assert (data["endpoint_id"], data["url"], data["reason"]) == (
        ids.text(ids.ENDPOINT, gone.id), URL, "410 Gone",
    )  # fmt: skip
    assert data["disabled_at"]
    assert data["failing_since"]


async def test_one_success_forgives_what_failed_before_and_a_healthy_endpoint_is_never_written(
    bench: Bench, vault: Vault
) -> None:
    made, woken = await sending(bench, vault)
    (before,) = await bench.rows("SELECT xmin::text FROM endpoints")
    await record(bench, woken, DELIVERED)
    assert await bench.rows("SELECT xmin::text FROM endpoints") == [before]

    await record(bench, await one_more(bench, vault), LATER)
    failed = await find(bench, made)
    assert failed.failing_since is not None
    assert failed.failing_deliveries == 1
    await record(bench, await tried_again(bench, vault), DELIVERED)
    mended = await find(bench, made)
    assert (mended.failing_since, mended.failing_deliveries) == (None, 0)


async def test_each_delivery_counts_once_however_often_it_fails(bench: Bench, vault: Vault) -> None:
    made, woken = await sending(bench, vault)
    await record(bench, woken, LATER)
    since = (await find(bench, made)).failing_since
    for _ in range(3):
        await record(bench, await tried_again(bench, vault), LATER)
    assert (await find(bench, made)).failing_deliveries == 1
    await record(bench, await one_more(bench, vault), BLOCKED)
    failed = await find(bench, made)
    assert (failed.failing_deliveries, failed.failing_since) == (2, since)


async def test_a_delivery_that_failed_before_the_last_success_counts_again_after_it(
    bench: Bench, vault: Vault
) -> None:
    made, woken = await sending(bench, vault)
    await record(bench, woken, LATER)
    await bench.run("UPDATE delivery_tries SET at = at - interval '1 h'")
    await bench.run("UPDATE deliveries SET next_at = now() + interval '1 h'")
    await finished(bench)
    (good,) = await wake(bench)
    await take(bench, vault, good)
    await record(bench, good, DELIVERED)
    await record(bench, await tried_again(bench, vault), LATER)
    assert (await find(bench, made)).failing_deliveries == 1


@pytest.mark.parametrize(
    ("since", "deliveries", "disabled"),
    [
        ("4 days 23:59", 99, False),
        ("5 days", 1, True),
        ("23:59", 5_000, False),
        ("24:01", 99, False),
        ("24:01", 100, True),
    ],
)
async def test_time_disables_an_endpoint_and_less_of_it_over_many_deliveries(
    bench: Bench, vault: Vault, since: str, deliveries: int, *, disabled: bool
) -> None:
    witness = await endpoint(bench, vault, "webhook.disabled", url=URL + "/witness")
    made, woken = await sending(bench, vault)
    await record(bench, woken, LATER)
    await failing(bench, since, deliveries)

    came_to = await record(bench, await tried_again(bench, vault), LATER)

    now = await find(bench, made)
    assert (now.enabled, came_to) == ((False, "held") if disabled else (True, "pending"))
    assert [row["endpoint_id"] for row in await told(bench)] == [witness.id] * disabled
    if disabled:
        assert now.disabled_reason is not None
        assert now.disabled_reason.startswith("no success since 20")
        assert now.disabled_reason.endswith("the last try met: HTTP 500")


async def test_every_kind_of_failure_counts(bench: Bench, vault: Vault) -> None:
    made = await endpoint(bench, vault)
    for met, state in ((EXHAUSTED, "exhausted"), (BLOCKED, "blocked"), (LATER, "held")):
        await record(bench, await one_more(bench, vault), met)
        await failing(bench, "6 days", 1)
        assert await record(bench, await one_more(bench, vault), met) == state
        assert not (await find(bench, made)).enabled
        await change(bench, made, enabled=True)


async def test_a_receiver_that_gives_single_messages_up_is_alive(
    bench: Bench, vault: Vault
) -> None:
    made, woken = await sending(bench, vault)
    assert await record(bench, woken, GIVEN_UP) == "aborted"
    assert (await find(bench, made)).failing_since is None


async def test_enabling_begins_with_fresh_patience(bench: Bench, vault: Vault) -> None:
    made, woken = await sending(bench, vault)
    await record(bench, woken, LATER)
    await failing(bench, "6 days", 1)
    await record(bench, await tried_again(bench, vault), LATER)
    on = await change(bench, made, enabled=True)
    assert (on.failing_since, on.failing_deliveries) == (None, 0)
    assert await record(bench, await one_more(bench, vault), LATER) == "pending"
    assert (await find(bench, made)).enabled


async def test_a_jobs_own_url_is_never_disabled(bench: Bench, vault: Vault) -> None:
    await finished(bench, webhook_url="https://job.example/hook")
    await record(bench, await tried_again(bench, vault), LATER)
    await bench.run("UPDATE delivery_tries SET at = at - interval '9 days'")
    assert await record(bench, await tried_again(bench, vault), LATER) == "pending"


async def test_a_success_that_comes_after_the_end_is_still_a_delivery(
    bench: Bench, vault: Vault
) -> None:
    made, woken = await sending(bench, vault)
    late = await one_more(bench, vault)
    await change(bench, made, enabled=False)
    assert await record(bench, woken, DELIVERED) == "delivered"
    await bench.do(lambda tx: endpoints.remove(tx, bench.caller.project_id, made.id))
    assert await record(bench, late, DELIVERED) == "delivered"


async def test_a_try_of_a_delivery_that_retention_has_deleted_leaves_nothing(
    bench: Bench, vault: Vault
) -> None:
    _, woken = await sending(bench, vault)
    await bench.run("DELETE FROM deliveries")
    assert await record(bench, woken, DELIVERED) is None
    assert await record(bench, (uuid4(), 1), DELIVERED) is None


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "general"])
async def test_one_secret_signs_for_a_jobs_url_and_an_endpoint_through_its_rotations(
    bench: Bench, vault: Vault, *, plain: bool
) -> None:
    bench = replace(bench, plain=plain)
    project_id = bench.caller.project_id
    made, _ = await registered(bench, vault, Wish(URL, project_secret=True))

    async def signed_with() -> list[tuple[str, ...]]:
        await finished(bench, webhook_url=URL + "/own")
        parcels = [await take(bench, vault, each) for each in await wake(bench)]
        return sorted((each.secrets for each in parcels if each is not None), key=len)

    for_job, for_endpoint = await signed_with()
    private = endpoint_secrets.secrets(vault, made, datetime.now(UTC))
    assert for_endpoint == for_job + private
    fresh = signing.new_secret()
    await bench.do(lambda tx: projects.rotate_webhook_secret(tx, vault, project_id, fresh))
    rotated, of_endpoint = await signed_with()
    assert rotated == (fresh, *for_job)
    assert of_endpoint == rotated + private
