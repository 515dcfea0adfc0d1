"""`GET /v1/jobs?search=`: a job by whatever a person has in hand; and one link to show its image."""

from base64 import b64encode

import httpx
import pytest
from sqlalchemy import text

from models import ids
from models.jobs.reading import searching
from tests.conftest import PLAIN
from tests.fixtures.drawing import draw
from tests.integration.api.client import Api, input_, path, problem


async def found(api: Api, words: str, **params: str | int) -> list[str]:
    answer = await api.client.get("/v1/jobs", params={"search": words, **params})
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["data"]]


async def test_a_job_is_found_by_each_of_its_ids(api: Api) -> None:
    job = await api.submit(webhook={"url": "https://example.com/hook"})
    await api.life.succeed(job)
    await api.submit()
    name = ids.text("job", job)
    told = (await api.client.get(path(job, "/deliveries"))).json()["data"][0]
    for words in (name, f"{name}:1", told["id"], told["event_id"], "inf-1"):
        assert await found(api, words) == [name], words
    assert await found(api, name, status="failed") == []
    assert await found(api, ids.text("job", ids.new())) == []


async def test_a_job_is_found_by_order_customer_tag_and_prompt(api: Api) -> None:
    job = await api.submit(
        input=input_(prompt="A Fox, 100% red\\_ish"), metadata={"order": "A-17"}, tags=["b c"],
        customer="c_9",
    )  # fmt: skip
    await api.submit(metadata={"A-17": "order"})
    for words in ("A-17", "c_9", "b c", "fox", "100% RED", "\\_ish"):
        assert await found(api, words) == [ids.text("job", job)], words
    for words in ("A-1", "c", "f_x", "%", "_"):
        assert ids.text("job", job) not in await found(api, words) or words in {"%", "_", "c"}
    assert await found(api, "%") == [ids.text("job", job)]  # a sign, and no pattern


async def test_jobs_are_found_by_their_batch_their_row_and_their_key(api: Api) -> None:
    rows = [{"custom_id": f"plate-{n}", "input": input_(prompt=f"Plate {n}")} for n in range(3)]
    answer = await api.client.post("/v1/batches", json={"items": rows})
    assert answer.status_code == 202, answer.text
    batch = answer.json()["id"]
    keyed = {"idempotency-key": "cart-17"}
    alone = await api.client.post("/v1/jobs", json={"input": input_()}, headers=keyed)
    listed = (await api.client.get(f"/v1/batches/{batch}/items")).json()["data"]
    assert await found(api, batch) == [each["id"] for each in reversed(listed)]
    assert await found(api, batch, status="failed") == []
    assert await found(api, ids.text(ids.BATCH, ids.new())) == []
    assert await found(api, "plate-1") == [listed[1]["id"]]
    assert await found(api, "cart-17") == [alone.json()["id"]]


async def test_a_foreign_job_is_not_found(api: Api) -> None:
    job = await api.submit(metadata={"order": "mine"})
    theirs = await api.another_project()
    for words in (ids.text("job", job), "mine", "lighthouse"):
        answer = await api.client.get("/v1/jobs", params={"search": words}, headers=theirs)
        assert answer.json()["data"] == []


@pytest.mark.parametrize("by", ["search", "tag"])
async def test_a_look_goes_on_page_by_page_through_jobs_beyond_its_reach(
    api: Api, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    for reach in ("LOOKED_THROUGH", "SOUGHT"):
        monkeypatch.setattr(searching, reach, 4)
    made = [
        ids.text("job", await api.submit(tags=["odd" if number % 5 else "rare"]))
        for number in range(11)
    ]
    cursor, pages = None, []
    while True:
        params: dict[str, str | int] = {by: "rare", "limit": 2}
        if cursor:
            params["cursor"] = cursor
        page = (await api.client.get("/v1/jobs", params=params)).json()
        pages.append([each["id"] for each in page["data"]])
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)
        if cursor is None:
            break
    assert [each for page in pages for each in page] == [made[10], made[5], made[0]]
    assert len(pages) >= 3


async def test_a_shared_link_shows_the_image_for_an_hour(api: Api) -> None:
    job = await api.submit()
    problem(await api.client.post(path(job, "/share")), 409, "not_finished")
    await api.life.succeed(job)
    shared = (await api.client.post(path(job, "/share"))).json()
    where = shared["url"].removeprefix(api.state.settings.public_url.rstrip("/"))
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as stranger:
        assert (await stranger.get(where)).status_code == 200
        longer = where.replace("exp=", "exp=9")
        problem(await stranger.get(longer), 403, "signature_invalid")
    async with api.life.database.transaction() as tx:
        left = await tx.scalar(
            text("SELECT CAST(:at AS timestamptz) - now()"), {"at": shared["expires_at"]}
        )
    assert 3500 < left.total_seconds() <= 3600
    await api.client.delete(path(job))
    problem(await api.client.post(path(job, "/share")), 410, "erased")


async def test_a_reference_that_came_inside_the_request_is_shown_to_its_project(api: Api) -> None:
    drawn = draw("png", (64, 48))
    inline = f"data:image/png;base64,{b64encode(drawn).decode()}"
    link = "https://example.com/one.png"
    answer = await api.client.post("/v1/jobs", json={"input": input_(image_urls=[link, inline])})
    assert answer.status_code == 202, answer.text
    where = f"/v1/jobs/{answer.json()['id']}/references"
    shown = await api.client.get(f"{where}/1")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    assert shown.content == drawn
    assert "sandbox" in shown.headers["content-security-policy"]
    for n in (0, 2):
        problem(await api.client.get(f"{where}/{n}"), 404, "not_found")
    theirs = await api.another_project()
    problem(await api.client.get(f"{where}/1", headers=theirs), 404, "not_found")
