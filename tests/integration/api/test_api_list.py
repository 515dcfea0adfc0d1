"""`GET /v1/jobs`: filters, and pages without gaps or doubles."""

import asyncio
import csv
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta

import pytest

from models import ids
from models.jobs.reading import exporting
from tests.integration.api.client import (
    MODEL,
    PRICE,
    Api,
    body,
    input_,
    job_id,
    pointers,
    problem,
)


async def listed(api: Api, **params: str | int) -> list[str]:
    """List the ids that these filters leave, newest first."""
    answer = await api.client.get("/v1/jobs", params=params)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["object"] == "list"
    assert page["has_more"] is False
    assert page["next_cursor"] is None
    return [each["id"] for each in page["data"]]


async def test_jobs_are_listed_newest_first_as_they_are(api: Api) -> None:
    made = [await api.submit(tags=[str(n)]) for n in range(3)]
    page = (await api.client.get("/v1/jobs")).json()
    assert page["data"] == [await api.job(each) for each in reversed(made)]


async def test_filters_narrow_by_what_a_job_is(api: Api) -> None:
    fields: list[dict[str, object]] = [
        {"tags": ["a", "b"], "customer": "c1", "metadata": {"order": "1", "shop": "x"}},
        {"tags": ["b"], "customer": "c2", "metadata": {"order": "2", "shop": "x"}},
        {"metadata": {"order": "1"}},
    ]
    one, two, three = [ids.text("job", await api.submit(**each)) for each in fields]
    assert await listed(api, tag="a") == [one]
    assert await listed(api, tag="b") == [two, one]
    assert await listed(api, customer="c2") == [two]
    assert await listed(api, **{"metadata[order]": "1"}) == [three, one]
    assert await listed(api, **{"metadata[order]": "1", "metadata[shop]": "x"}) == [one]
    assert await listed(api, tag="b", customer="c1") == [one]
    assert await listed(api, model=MODEL) == [three, two, one]
    assert await listed(api, model="other") == []
    assert await listed(api, tag="%") == []


async def test_filters_narrow_by_how_a_job_stands(api: Api) -> None:
    names = ["succeeded", "failed", "expired", "running", "canceled", "queued"]
    made = {}
    for name in names:
        job = await api.submit(on_unknown_charge="fail", queue_ttl=60 if name == "expired" else 90)
        made[name] = ids.text("job", job)
        match name:
            case "succeeded":
                await api.life.succeed(job)
            case "failed":
                await api.life.lose(await api.life.start(job))
            case "expired":
                await api.life.expire(job)
            case "running":
                await api.life.start(job)
            case "canceled":
                await api.client.post(f"/v1/jobs/{made[name]}/cancel")
    for name in names:
        assert await listed(api, status=name) == [made[name]], name
    assert await listed(api, charge_state="settled") == [made["succeeded"]]
    assert await listed(api, charge_state="unknown") == [made["running"], made["failed"]]
    assert await listed(api, charge_state="released") == []
    assert await listed(api, waiting_reason="queue") == [made["queued"]]


async def test_several_statuses_are_listed_together(api: Api) -> None:
    queued, canceled, succeeded = [ids.text("job", await api.submit()) for _ in range(3)]
    await api.client.post(f"/v1/jobs/{canceled}/cancel")
    await api.life.succeed(job_id(succeeded))
    assert await listed(api, status="canceled,succeeded") == [succeeded, canceled]
    assert await listed(api, status="queued, canceled,queued") == [canceled, queued]
    assert await listed(api, status="failed,expired") == []


async def test_a_job_is_found_by_the_key_of_its_request(api: Api) -> None:
    named = {"idempotency-key": "order-17"}
    one = (await api.client.post("/v1/jobs", json=body(), headers=named)).json()["id"]
    await api.submit()
    await api.client.post(f"/v1/jobs/{one}/cancel")
    two = (await api.client.post(f"/v1/jobs/{one}/retry", headers=named)).json()["id"]
    assert await listed(api, idempotency_key="order-17") == [two, one]
    assert await listed(api, idempotency_key="order-17", status="canceled") == [one]
    assert await listed(api, idempotency_key="order-1") == []


async def test_the_images_of_a_call_are_found_by_the_key_of_the_call(api: Api) -> None:
    asked = {**input_(), "n": 10, "size": "2K"}
    impatient = {"x-stainless-read-timeout": "0.2", "idempotency-key": "ten"}
    await api.client.post("/v1/images/generations", json=asked, headers=impatient)
    (first,) = await listed(api, idempotency_key="ten")
    group = (await api.client.get(f"/v1/jobs/{first}")).json()["batch_id"]
    assert len(await listed(api, batch=group)) == 10


async def test_erased_jobs_are_listed_or_left_out(api: Api) -> None:
    erased, kept = [ids.text("job", await api.submit(customer="c")) for _ in range(2)]
    await api.client.post(f"/v1/jobs/{erased}/cancel")
    await api.client.delete(f"/v1/jobs/{erased}")
    assert await listed(api, erased="true") == [erased]
    assert await listed(api, erased="false") == [kept]
    assert await listed(api, customer="c") == [kept, erased]


async def test_the_list_comes_as_csv_whole_and_by_the_same_filters(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_PART", 2)
    monkeypatch.setattr(exporting, "_LOOKED_THROUGH", 3)
    made = []
    for n in range(7):
        meta = {"order": f"A-{n}"} if n % 3 else {}
        made.append(ids.text("job", await api.submit(tags=["=x"], customer=f"c{n}", metadata=meta)))
    await api.life.succeed(job_id(made[4]))
    rows = await sheet(api)
    assert [row["id"] for row in rows] == list(reversed(made))
    assert [row["id"] for row in await sheet(api, customer="c0")] == made[:1]
    assert [row["id"] for row in await sheet(api, status="queued", tag="=x")] == [
        each for each in reversed(made) if each != made[4]
    ]
    done = rows[2]
    shown = await api.job(job_id(made[4]))
    for name in ("id", "status", "customer", "priority", "created_at", "finished_at"):
        assert done[name] == shown[name], name
    assert (done["charged"], done["charged_usd"], done["held"]) == (str(PRICE), "0.0455", "0")
    assert (done["tags"], done["metadata"]) == ("'=x", '{"order": "A-4"}')
    assert done["prompt"] == input_()["prompt"]


async def test_a_csv_of_no_job_has_its_header_and_a_wrong_filter_is_refused(api: Api) -> None:
    accept = {"accept": "text/csv"}
    empty = await api.client.get("/v1/jobs", headers=accept)
    assert empty.headers["content-disposition"] == 'attachment; filename="jobs.csv"'
    assert empty.text.startswith("id,status,created_at")
    assert empty.text.count("\n") == 1
    wrong = await api.client.get("/v1/jobs", params={"status": "done"}, headers=accept)
    problem(wrong, 422, "invalid_request")
    theirs = await api.client.get("/v1/jobs", headers=accept | await api.another_project())
    assert theirs.text == empty.text


async def sheet(api: Api, **params: str) -> list[dict[str, str]]:
    """Read the list as CSV."""
    answer = await api.client.get("/v1/jobs", params=params, headers={"accept": "text/csv"})
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(answer.text.splitlines()))


async def test_a_released_job_is_found_as_queued(api: Api) -> None:
    job = await api.submit()
    await api.life.dispatch(job)
    assert await listed(api, status="queued") == [ids.text("job", job)]
    assert await listed(api, waiting_reason="queue") == [ids.text("job", job)]


async def test_a_job_is_found_by_the_reason_it_is_shown_with(api: Api) -> None:
    job = ids.text("job", await api.submit())
    await api.life.alter("INSERT INTO gates (reason) VALUES ('wallet_empty')")
    assert await listed(api, waiting_reason="wallet_empty") == [job]
    assert await listed(api, waiting_reason="queue") == []
    await api.life.alter(
        "UPDATE jobs SET waiting_reason = 'backoff', run_after = now() + interval '1 hour'"
    )
    assert await listed(api, waiting_reason="backoff") == [job]
    assert await listed(api, waiting_reason="wallet_empty") == []
    await api.life.alter("DELETE FROM gates")
    await api.life.alter("UPDATE jobs SET run_after = now()")
    assert await listed(api, waiting_reason="queue") == [job]


async def test_filters_narrow_by_time(api: Api) -> None:
    first = await api.submit()
    created = datetime.fromisoformat(str((await api.job(first))["created_at"]))
    await asyncio.sleep(0.01)
    second = await api.submit()
    after = datetime.fromisoformat(str((await api.job(second))["created_at"]))
    names = [ids.text("job", each) for each in (second, first)]
    middle = (created + (after - created) / 2).isoformat()
    assert await listed(api, created_after=middle) == names[:1]
    assert await listed(api, created_before=middle) == names[1:]
    hour = timedelta(hours=1)
    wide = {
        "created_after": (created - hour).isoformat(),
        "created_before": (after + hour).isoformat(),
    }
    assert await listed(api, **wide) == names
    assert await listed(api, created_after="0001-01-01T00:00:00Z") == names
    assert await listed(api, created_before="9999-12-31T23:59:59Z") == names


async def test_pages_have_neither_gaps_nor_doubles_while_jobs_arrive(api: Api) -> None:
    made = [ids.text("job", await api.submit()) for _ in range(7)]
    await api.client.post("/v1/jobs", json={}, headers=await api.another_project())
    seen: list[str] = []
    params: dict[str, str | int] = {"limit": 2}
    while True:
        page = (await api.client.get("/v1/jobs", params=params)).json()
        seen += [each["id"] for each in page["data"]]
        await api.submit()
        if not page["has_more"]:
            break
        assert len(page["data"]) == 2
        params["cursor"] = page["next_cursor"]
    assert seen == list(reversed(made))
    assert page["next_cursor"] is None


async def test_a_page_has_twenty_jobs_and_at_most_a_hundred(api: Api) -> None:
    await asyncio.gather(*(api.submit() for _ in range(21)))
    page = (await api.client.get("/v1/jobs")).json()
    assert (len(page["data"]), page["has_more"]) == (20, True)
    assert len(await listed(api, limit=100)) == 21


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"limit": "0"}, "query:limit"),
        ({"limit": "101"}, "query:limit"),
        ({"limit": "many"}, "query:limit"),
        ({"status": "released"}, "query:status"),
        ({"status": "done"}, "query:status"),
        ({"status": "queued,"}, "query:status"),
        ({"status": "queued,done"}, "query:status"),
        ({"status": ""}, "query:status"),
        ({"erased": "perhaps"}, "query:erased"),
        ({"idempotency_key": ""}, "query:idempotency_key"),
        ({"idempotency_key": "\0"}, "query:idempotency_key"),
        ({"idempotency_key": "k" * 256}, "query:idempotency_key"),
        ({"charge_state": "paid"}, "query:charge_state"),
        ({"waiting_reason": "mood"}, "query:waiting_reason"),
        ({"created_after": "yesterday"}, "query:created_after"),
        ({"created_after": "2026-01-01T00:00:00"}, "query:created_after"),
        ({"created_after": "1795341641"}, "query:created_after"),
        ({"created_before": "9999-12-31T23:59:59-12:00"}, "query:created_before"),
        ({"tag": "\0"}, "query:tag"),
        ({"tag": ""}, "query:tag"),
        ({"customer": "\0"}, "query:customer"),
        ({"model": "\0"}, "query:model"),
        ({"metadata[k]": "\0"}, "query:metadata[k]"),
        ({"metadata[\0]": "v"}, "query:metadata[\0]"),
        ({"colour": "red"}, "query:colour"),
        ({"metadata": "v"}, "query:metadata"),
        ({"cursor": "x"}, "query:cursor"),
        ({"cursor": "é"}, "query:cursor"),
        ({"cursor": "A" * 300}, "query:cursor"),
        ({"cursor": urlsafe_b64encode(b"15 bytes only..").decode()}, "query:cursor"),
    ],
)
async def test_a_filter_that_cannot_be_is_refused(
    api: Api, params: dict[str, str], named: str
) -> None:
    answer = await api.client.get("/v1/jobs", params=params)
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == [named]
