"""`/v1/budgets` over HTTP, and the 402 of a submission that finds no room."""

import pytest

from tests.fixtures.zones import NOON
from tests.integration.api.client import PRICE, Api, body

TOTAL = {"window": "total", "limit": PRICE}


async def test_a_budget_is_put_listed_changed_and_deleted(api: Api) -> None:
    put = await api.client.put("/v1/budgets", json=TOTAL)
    assert put.status_code == 200, put.text
    made = put.json()
    assert made["id"].startswith("bud_")
    assert (made["scope"], made["mode"], made["timezone"]) == ("project", "hard", "UTC")
    assert (made["limit"], made["spent"], made["held"], made["left"]) == (PRICE, 0, 0, PRICE)
    assert (made["window_starts_at"], made["window_ends_at"]) == (None, None)
    changed = (await api.client.put("/v1/budgets", json=TOTAL | {"limit": 5})).json()
    assert (changed["id"], changed["left"]) == (made["id"], 5)
    assert (await api.client.get("/v1/budgets")).json()["data"] == [changed]
    assert (await api.client.delete(f"/v1/budgets/{made['id']}")).status_code == 204
    assert (await api.client.get("/v1/budgets")).json()["data"] == []
    assert (await api.client.delete(f"/v1/budgets/{made['id']}")).status_code == 404


async def test_a_submission_without_room_is_402_and_creates_nothing(api: Api) -> None:
    made = (await api.client.put("/v1/budgets", json=TOTAL)).json()
    await api.submit()
    answer = await api.client.post("/v1/jobs", json=body(), headers={"idempotency-key": "k"})
    assert answer.status_code == 402
    problem = answer.json()
    assert (problem["code"], problem["retryable"]) == ("budget_exceeded", False)
    assert problem["budget"] == {
        "id": made["id"], "scope": "project", "window": "total", "limit": PRICE, "left": 0,
    }  # fmt: skip
    assert "0 of 91,000 credits left" in problem["detail"]
    assert len((await api.client.get("/v1/jobs")).json()["data"]) == 1
    # The refusal has not consumed the key.
    await api.client.put("/v1/budgets", json=TOTAL | {"limit": 2 * PRICE})
    again = await api.client.post("/v1/jobs", json=body(), headers={"idempotency-key": "k"})
    assert (again.status_code, again.headers.get("idempotent-replayed")) == (202, None)


async def test_a_budget_shows_what_its_window_holds(api: Api) -> None:
    day = {"window": "day", "timezone": NOON, "limit": 10 * PRICE, "mode": "soft"}
    await api.client.put("/v1/budgets", json=day)
    await api.submit()
    (shown,) = (await api.client.get("/v1/budgets")).json()["data"]
    assert (shown["held"], shown["left"], shown["mode"]) == (PRICE, 9 * PRICE, "soft")
    assert shown["window_starts_at"] < shown["window_ends_at"]


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"window": "week"}, "/window"),
        ({"limit": -1}, "/limit"),
        ({"limit": 1.5}, "/limit"),
        ({"timezone": "Mars/Olympus"}, "/timezone"),
        ({"mode": "firm"}, "/mode"),
        ({"scope": "key"}, ""),
        ({"customer": "c_1"}, ""),
        ({"scope": "customer", "customer": "no spaces"}, "/customer"),
        ({"limt": 3}, "/limt"),
    ],
)
async def test_a_wrong_budget_is_refused_by_its_field(
    api: Api, wrong: dict[str, object], pointer: str
) -> None:
    answer = await api.client.put("/v1/budgets", json=TOTAL | wrong)
    assert answer.status_code == 422, answer.text
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert (await api.client.get("/v1/budgets")).json()["data"] == []


@pytest.mark.parametrize("key_id", ["key_00000000000000000000000000", "nonsense"])
async def test_a_key_of_nobodys_has_no_budget(api: Api, key_id: str) -> None:
    answer = await api.client.put("/v1/budgets", json=TOTAL | {"scope": "key", "key_id": key_id})
    assert answer.status_code == 404


async def test_only_an_admin_makes_budgets_and_usage_may_see_them(api: Api) -> None:
    reader = await api.key_with("usage:read")
    assert (await api.client.get("/v1/budgets", headers=reader)).status_code == 200
    refused = await api.client.put("/v1/budgets", json=TOTAL, headers=reader)
    assert refused.json()["code"] == "scope_missing"


async def test_another_project_sees_and_deletes_no_budget_of_ours(api: Api) -> None:
    made = (await api.client.put("/v1/budgets", json=TOTAL)).json()
    other = await api.another_project()
    assert (await api.client.get("/v1/budgets", headers=other)).json()["data"] == []
    gone = await api.client.delete(f"/v1/budgets/{made['id']}", headers=other)
    assert gone.status_code == 404


async def test_an_identical_job_with_exact_reuse_follows_and_shows_it(api: Api) -> None:
    leader = await api.submit(reuse="exact")
    follower = await api.job(await api.submit(reuse="exact"))
    assert (follower["status"], follower["waiting_reason"]) == ("queued", "following")
    assert (await api.job(leader))["waiting_reason"] == "queue"
