"""Batches over HTTP: every row is judged before one is made, and then they are jobs like any other."""

import asyncio
import json
import zipfile
from collections.abc import Sequence
from io import BytesIO
from urllib.parse import quote, urlsplit

import pytest
from sqlalchemy import text

from models.jobs import batches
from models.money import prices
from models.money.prices import Variant
from tests.integration.api.client import MODEL, PRICE, Api, Body, input_, job_id, pointers, problem
from tests.integration.api.life import PICTURE

CSV = {"content-type": "text/csv"}
NDJSON = {"content-type": "application/x-ndjson"}


def row(name: str, **fields: object) -> Body:
    """Make a row of a batch, the smallest that is taken."""
    return {"custom_id": name, "input": {"model": MODEL, "prompt": f"A {name}."}} | fields


def rows(count: int) -> list[Body]:
    return [row(f"r{number}") for number in range(1, count + 1)]


def ndjson(items: Sequence[object]) -> str:
    return "\n".join(json.dumps(each) for each in items)


async def taken(api: Api, items: Sequence[Body], **fields: object) -> Body:
    """Take a batch of these rows."""
    answer = await api.client.post("/v1/batches", json={"items": list(items), **fields})
    assert answer.status_code == 202, answer.text
    shown: Body = answer.json()
    return shown


async def look(api: Api, batch: Body) -> dict[str, object]:
    """Let the dispatcher work until nothing is to be done of any batch, and read this one."""
    for _ in range(20):
        found = await batches.due(api.life.database.direct, 50)
        for each in found:
            async with api.life.database.transaction() as tx:
                await batches.advance(tx, api.life.presenter, each)
        if not found:
            break
    answer = await api.client.get(f"/v1/batches/{batch['id']}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, object] = answer.json()
    return shown


async def jobs_of(api: Api, batch: Body) -> list[Body]:
    answer = await api.client.get(f"/v1/batches/{batch['id']}/items", params={"limit": 100})
    assert answer.status_code == 200, answer.text
    found: list[Body] = answer.json()["data"]
    return found


async def test_a_batch_is_taken_whole_and_its_rows_become_jobs(api: Api) -> None:
    made = await taken(api, rows(3), metadata={"night": "1"})
    assert made["counts"] == {
        "queued": 3, "running": 0, "succeeded": 0, "failed": 0, "canceled": 0, "expired": 0,
    }  # fmt: skip
    assert made["credits"]["held"] == 3 * PRICE  # type: ignore[index]
    assert (made["status"], made["total"], made["errors"]) == ("running", 3, [])
    first = (await jobs_of(api, made))[0]
    assert (first["custom_id"], first["batch_id"], first["priority"]) == ("r1", made["id"], "bulk")
    assert first["waiting_reason"] == "batch"
    await look(api, made)
    found = await jobs_of(api, made)
    assert [each["waiting_reason"] for each in found] == ["queue"] * 3
    for each in found[:2]:
        await api.life.succeed(job_id(each["id"]))
    await api.life.fail(job_id(found[2]["id"]))
    over = await look(api, made)
    assert over["status"] == "completed"
    assert over["credits"]["charged"] == 2 * PRICE  # type: ignore[index]
    assert over["credits"]["held"] == 0  # type: ignore[index]
    assert over["top_errors"] == [{"code": "content_refused", "count": 1, "message": "not this"}]


async def test_bad_rows_are_told_and_nothing_is_created(api: Api) -> None:
    bad = row("b", input={"model": MODEL, "prompt": ""})
    answer = await api.client.post(
        "/v1/batches", content=ndjson([row("a"), bad, row("a"), 7]), headers=NDJSON
    )
    said = problem(answer, 422, "invalid_request")
    assert "take the 1 row that is good" in str(said["detail"])
    told = [(each["row"], each["custom_id"], each["pointer"]) for each in said["errors"]]  # type: ignore[attr-defined]
    assert told == [(2, "b", "/input/prompt"), (3, "a", "/custom_id"), (4, None, "")]
    assert await api.life.count("jobs") == await api.life.count("batches") == 0


async def test_csv_is_read_as_spreadsheets_write_it(api: Api) -> None:
    text = (
        "\ufeffcustom_id;prompt;image_size;seed;customer;metadata.sku\r\n"
        'a;"A red; ""fast"" bicycle";2048x2048;7;c_9;B-17\r\n'
        "b;A blue one;;;;\r\n\r\n"
    )
    answer = await api.client.post("/v1/batches", content=text.encode(), headers=CSV)
    assert answer.status_code == 202, answer.text
    first, second = await jobs_of(api, answer.json())
    assert first["input"] == {
        "model": MODEL, "prompt": 'A red; "fast" bicycle', "seed": 7,
        "image_size": {"width": 2048, "height": 2048},
    }  # fmt: skip
    assert (first["customer"], first["metadata"]) == ("c_9", {"sku": "B-17"})
    assert second["input"] == {"model": MODEL, "prompt": "A blue one"}


async def test_the_good_rows_are_taken_where_bad_ones_may_be_skipped(api: Api) -> None:
    items = [row("a"), row("b", priority="urgent"), row("c")]
    answer = await api.client.post("/v1/batches", params={"invalid": "skip"}, json={"items": items})
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["total"], made["skipped"]) == (2, 1)
    assert [(each["row"], each["pointer"]) for each in made["errors"]] == [(2, "/priority")]


async def test_a_dry_run_tells_the_quote_and_makes_nothing(api: Api) -> None:
    asked = {"dry_run": "true", "max_cost": str(2 * PRICE + 1)}
    answer = await api.client.post("/v1/batches", params=asked, json={"items": rows(3)})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["estimated"], told["held"], told["total"]) == (3 * PRICE, 2 * PRICE, 3)
    assert await api.life.count("jobs") == 0


@pytest.mark.parametrize("count", [1, 400], ids=["judged here", "judged in a child"])
@pytest.mark.parametrize(
    ("asked", "said", "named"),
    [
        ({"max_cost": PRICE}, {"max_cost": 2 * PRICE}, ["/max_cost"]),
        ({"stop_on_failures": 1}, {"stop_on": {"failures": 2}}, ["/stop_on"]),
        ({"model": MODEL}, {"defaults": {"input": {"model": MODEL}}}, ["/defaults/input/model"]),
        ({"image_size": "2K"}, {"defaults": {"input": {"image_size": None}}},
         ["/defaults/input/image_size"]),
        ({"customer": "a", "priority": "bulk", "queue_ttl": 60},
         {"defaults": {"customer": "b", "priority": "bulk", "queue_ttl": 60}},
         ["/defaults/customer", "/defaults/priority", "/defaults/queue_ttl"]),
        ({}, {"defaults": {"custom_id": "a"}}, ["/defaults/custom_id"]),
        ({}, {"defaults": {"input": None}}, ["/defaults/input"]),
        ({}, {"defaults": {"input": 7, "metadata": [], "tag": 1, "reuse": "exact"}},
         ["/defaults/input", "/defaults/metadata", "/defaults/reuse", "/defaults/tag"]),
    ],
    ids=str,
)  # fmt: skip
async def test_what_holds_for_all_rows_is_said_once(
    api: Api, asked: dict[str, str | int], said: Body, named: list[str], count: int
) -> None:
    body = {"items": rows(count)} | said
    answer = await api.client.post("/v1/batches", params=asked, json=body)
    refused = problem(answer, 422, "invalid_request")
    assert sorted(pointers(answer)) == named
    assert all(each in str(refused["detail"]) for each in named)
    assert await api.life.count("jobs") == await api.life.count("batches") == 0


async def test_what_the_query_and_the_body_each_say_holds(api: Api) -> None:
    items = [
        {"input": {"prompt": "A fox."}},
        {"input": {"prompt": "A hare."}, "priority": "standard"},
    ]
    asked: dict[str, str | int] = {"model": MODEL, "customer": "a", "max_cost": PRICE}
    said = {
        "defaults": {"input": {"seed": 7}, "tags": ["t"]},
        "max_cost": None,
        "stop_on": {"failures": 1},
    }
    answer = await api.client.post("/v1/batches", params=asked, json={"items": items} | said)
    assert answer.status_code == 202, answer.text
    assert answer.json()["max_cost"] == PRICE
    for each in await jobs_of(api, answer.json()):
        assert (each["customer"], each["tags"]) == ("a", ["t"])
        assert each["input"]["seed"] == 7  # type: ignore[index]


@pytest.mark.parametrize("name", ["a/b", "/a", "a//b", "a/", "../a", "a b?c#d%2F", "ä/🦖"])
async def test_a_row_is_found_by_any_name(api: Api, name: str) -> None:
    made = await taken(api, [row(name), row("a")])
    answer = await api.client.get(f"/v1/batches/{made['id']}/items/{quote(name, safe='')}")
    assert (answer.status_code, answer.json()["custom_id"]) == (200, name)
    plain = await api.client.get(
        f"/v1/batches/{made['id']}/items/{quote(name).replace('..', '%2e%2e')}"
    )
    assert plain.json()["custom_id"] == name


async def test_a_name_that_no_row_has_is_told(api: Api) -> None:
    made = await taken(api, [row("a")])
    items = f"/v1/batches/{made['id']}/items"
    assert '"b/c"' in str(problem(await api.client.get(f"{items}/b/c"), 404, "not_found")["detail"])
    nul = await api.client.get(f"{items}/a%00")
    problem(nul, 422, "invalid_request")
    assert pointers(nul) == ["path:custom_id"]


@pytest.mark.parametrize("items", [{}, "x", None, 5])
async def test_items_that_are_no_list_are_valid_json_all_the_same(api: Api, items: object) -> None:
    answer = await api.client.post("/v1/batches", json={"items": items, "max_cost": PRICE})
    said = problem(answer, 422, "invalid_request")
    assert pointers(answer) == ["/items"]
    assert "is no list; send a list of rows" in str(said["detail"])


async def test_a_row_that_names_a_kept_picture_is_told_what_rows_take(api: Api) -> None:
    urls = [
        "file_01m81h9c48e5mvy6h335yyrt0d",
        "https://example.com/a.png",
        "job_x/images/0",
        "a.png",
    ]
    answer = await api.client.post(
        "/v1/batches", json={"items": [row("a", input=input_(image_urls=urls))]}
    )
    problem(answer, 422, "invalid_request")
    told = {each["pointer"][-1]: each["message"] for each in answer.json()["errors"]}
    assert sorted(told) == ["0", "2", "3"]
    assert all("https:// URL" in each and "data:" not in each for each in told.values())


async def test_a_request_that_comes_again_is_the_same_batch(api: Api) -> None:
    key = {"idempotency-key": "night-1"}
    first, second = [
        await api.client.post("/v1/batches", json={"items": rows(2)}, headers=key) for _ in range(2)
    ]
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotent-replayed"] == "true"
    other = await api.client.post("/v1/batches", json={"items": rows(3)}, headers=key)
    problem(other, 422, "idempotency_key_reuse")
    assert await api.life.count("jobs") == 2


async def test_all_rows_are_one_decision_about_the_budget(api: Api) -> None:
    rule = {"window": "day", "limit": 5 * PRICE, "mode": "hard"}
    assert (await api.client.put("/v1/budgets", json=rule)).status_code == 200
    refused = await api.client.post("/v1/batches", json={"items": rows(6)})
    problem(refused, 402, "budget_exceeded")
    assert await api.life.count("jobs") == await api.life.count("ledger") == 0
    await taken(api, rows(5))
    (budget,) = (await api.client.get("/v1/budgets")).json()["data"]
    assert (budget["held"], budget["left"]) == (5 * PRICE, 0)


async def test_what_a_customer_may_spend_bounds_his_rows_alone(api: Api) -> None:
    rule = {
        "scope": "customer",
        "customer": "c_9",
        "window": "total",
        "limit": PRICE,
        "mode": "hard",
    }
    assert (await api.client.put("/v1/budgets", json=rule)).status_code == 200
    mine = [row(f"m{n}", customer="c_9") for n in range(2)]
    refused = await api.client.post("/v1/batches", json={"items": [row("a"), *mine]})
    problem(refused, 402, "budget_exceeded")
    await taken(api, [row("a"), row("b"), mine[0]])


async def test_a_batch_that_is_canceled_stops_at_once_and_gives_back_its_hold(api: Api) -> None:
    rule = {"window": "day", "limit": 9 * PRICE, "mode": "hard"}
    assert (await api.client.put("/v1/budgets", json=rule)).status_code == 200
    made = await taken(api, rows(4))
    await look(api, made)
    running = await api.life.start(job_id((await jobs_of(api, made))[0]["id"]))
    answer = await api.client.post(f"/v1/batches/{made['id']}/cancel")
    assert answer.json()["status"] == "canceling"
    assert answer.json()["cancel"]["prevented"] == 3
    await api.life.finish(running)
    over = await look(api, made)
    assert over["status"] == "canceled"
    assert over["counts"]["canceled"] == 4  # type: ignore[index]
    cancel = over["cancel"]
    assert (cancel["prevented"], cancel["too_late"], cancel["pending"]) == (3, 1, 0)  # type: ignore[index]
    (budget,) = (await api.client.get("/v1/budgets")).json()["data"]
    assert (budget["held"], budget["spent"]) == (0, PRICE)


async def test_a_pause_takes_rows_out_of_the_queue_until_it_ends(api: Api) -> None:
    made = await taken(api, rows(3))
    await look(api, made)
    paused = await api.client.post(f"/v1/batches/{made['id']}/pause")
    assert (paused.json()["status"], paused.json()["paused_for"]) == ("paused", "request")
    assert {each["waiting_reason"] for each in await jobs_of(api, made)} == {"batch"}
    await look(api, made)
    await api.client.post(f"/v1/batches/{made['id']}/resume")
    await look(api, made)
    assert {each["waiting_reason"] for each in await jobs_of(api, made)} == {"queue"}


async def test_what_its_money_does_not_pay_for_waits_and_the_batch_is_paused(api: Api) -> None:
    made = await taken(api, rows(3), max_cost=2 * PRICE)
    assert made["credits"]["held"] == 2 * PRICE  # type: ignore[index]
    await look(api, made)
    first, second, third = await jobs_of(api, made)
    await api.life.succeed(job_id(first["id"]))
    await api.life.succeed(job_id(second["id"]))
    paused = await look(api, made)
    assert (paused["status"], paused["paused_for"]) == ("paused", "max_cost")
    raised = await api.client.patch(f"/v1/batches/{made['id']}", json={"max_cost": 3 * PRICE})
    assert raised.json()["max_cost"] == 3 * PRICE
    await api.client.post(f"/v1/batches/{made['id']}/resume")
    await look(api, made)
    await api.life.succeed(job_id(third["id"]))
    over = await look(api, made)
    assert (over["status"], over["credits"]["charged"]) == ("completed", 3 * PRICE)  # type: ignore[index]


async def test_what_a_row_did_not_cost_pays_for_another(api: Api) -> None:
    made = await taken(api, rows(2), max_cost=PRICE)
    await look(api, made)
    first, second = await jobs_of(api, made)
    await api.life.fail(job_id(first["id"]))
    await look(api, made)
    await api.life.succeed(job_id(second["id"]))
    over = await look(api, made)
    assert (over["status"], over["credits"]["charged"]) == ("completed", PRICE)  # type: ignore[index]


async def test_so_many_failures_pause_a_batch(api: Api) -> None:
    made = await taken(api, rows(4), stop_on={"failures": 2})
    await look(api, made)
    found = await jobs_of(api, made)
    for each in found[:2]:
        await api.life.fail(job_id(each["id"]))
    paused = await look(api, made)
    assert (paused["status"], paused["paused_for"]) == ("paused", "failures")


async def test_results_come_in_the_order_of_the_rows_in_each_format(api: Api) -> None:
    made = await taken(api, rows(3))
    await look(api, made)
    found = await jobs_of(api, made)
    await api.life.succeed(job_id(found[1]["id"]))
    await look(api, made)
    lines = await api.client.get(f"/v1/batches/{made['id']}/results")
    told = [json.loads(line) for line in lines.text.splitlines()]
    assert [(each["row"], each["status"]) for each in told] == [
        (1, "queued"), (2, "succeeded"), (3, "queued"),
    ]  # fmt: skip
    url = urlsplit(told[1]["image"]["url"])
    assert (await api.client.get(f"{url.path}?{url.query}")).content == PICTURE
    table = await api.client.get(f"/v1/batches/{made['id']}/results", params={"format": "csv"})
    assert [line.split(",")[:2] for line in table.text.splitlines()[1:]] == [
        ["1", "r1"], ["2", "r2"], ["3", "r3"],
    ]  # fmt: skip
    archive = await api.client.get(f"/v1/batches/{made['id']}/results", params={"format": "zip"})
    with zipfile.ZipFile(BytesIO(archive.content)) as opened:
        assert opened.namelist() == ["00002-r2.jpg"]
        assert opened.read("00002-r2.jpg") == PICTURE


async def test_a_large_body_is_judged_as_a_small_one(api: Api) -> None:
    many = [row(f"r{n}", input={"model": MODEL, "prompt": "x" * 200}) for n in range(1, 301)]
    made = await taken(api, many)
    assert made["total"] == 300
    many[250] = row("r1")
    refused = await api.client.post("/v1/batches", content=ndjson(many), headers=NDJSON)
    said = problem(refused, 422, "invalid_request")
    assert [each["row"] for each in said["errors"]] == [251]  # type: ignore[attr-defined]


async def test_what_failed_is_made_anew_under_the_same_names(api: Api) -> None:
    made = await taken(api, rows(3))
    await look(api, made)
    found = await jobs_of(api, made)
    await api.life.succeed(job_id(found[0]["id"]))
    for each in found[1:]:
        await api.life.fail(job_id(each["id"]))
    await look(api, made)
    answer = await api.client.post(f"/v1/batches/{made['id']}/retry")
    assert answer.status_code == 202, answer.text
    again = answer.json()
    assert (again["total"], again["retried_from"]) == (2, made["id"])
    assert again["credits"]["held"] == 2 * PRICE
    anew = await jobs_of(api, again)
    assert [each["custom_id"] for each in anew] == ["r2", "r3"]
    assert [each["retried_from"] for each in anew] == [each["id"] for each in found[1:]]
    nothing = await api.client.post(f"/v1/batches/{again['id']}/retry")
    problem(nothing, 409, "conflict")


async def test_each_row_holds_the_price_of_its_own_input_also_when_it_is_made_anew(
    api: Api,
) -> None:
    nano, costs = "google/nano-banana-pro", {"1K": 100_000, "4K": 400_000}
    told = [Variant({"resolution": name}, price) for name, price in costs.items()]
    async with api.life.database.transaction() as tx:
        await prices.quote(tx, nano, 400_000, told)
    items = [row(n, input={"model": nano, "prompt": "a fox", "resolution": n}) for n in costs]
    made = await taken(api, items)
    assert made["credits"]["held"] == 500_000  # type: ignore[index]
    await look(api, made)
    for each in await jobs_of(api, made):
        await api.life.fail(job_id(each["id"]))
    await look(api, made)
    again = (await api.client.post(f"/v1/batches/{made['id']}/retry")).json()
    assert again["credits"]["held"] == 500_000
    assert [each["cost"]["held"] for each in await jobs_of(api, again)] == [100_000, 400_000]  # type: ignore[index]


async def test_lists_of_jobs_are_narrowed_to_a_batch_and_a_row(api: Api) -> None:
    made = await taken(api, rows(2))
    await taken(api, rows(2))
    listed = await api.client.get("/v1/jobs", params={"batch": str(made["id"]), "custom_id": "r2"})
    (found,) = listed.json()["data"]
    assert (found["batch_id"], found["custom_id"]) == (made["id"], "r2")
    item = await api.client.get(f"/v1/batches/{made['id']}/items/r2")
    assert item.json()["id"] == found["id"]
    newest = (await api.client.get("/v1/batches", params={"limit": 1})).json()
    assert newest["has_more"]
    rest = await api.client.get("/v1/batches", params={"cursor": newest["next_cursor"]})
    assert [each["id"] for each in rest.json()["data"]] == [made["id"]]


async def test_nobody_sees_anything_of_anothers_batch(api: Api) -> None:
    made = await taken(api, rows(1))
    other = await api.another_project()
    for method, rest in (
        ("GET", ""), ("GET", "/items"), ("GET", "/items/r1"), ("GET", "/results"), ("GET", "/events"),
        ("POST", "/pause"), ("POST", "/resume"), ("POST", "/cancel"), ("POST", "/retry"),
    ):  # fmt: skip
        answer = await api.client.request(method, f"/v1/batches/{made['id']}{rest}", headers=other)
        problem(answer, 404, "not_found")


async def test_a_batch_is_told_to_its_own_url_and_to_who_lists_it(api: Api) -> None:
    hook = {"url": "https://example.com/hook", "events": ["batch.progress", "job.succeeded"]}
    assert (await api.client.post("/v1/webhooks", json=hook)).status_code == 201
    made = await taken(api, rows(2), webhook={"url": "https://example.com/mine"})
    await look(api, made)
    first, second = await jobs_of(api, made)
    await api.life.succeed(job_id(first["id"]))
    await look(api, made)
    await api.life.succeed(job_id(second["id"]))
    await look(api, made)
    async with api.life.database.transaction() as tx:
        told = await tx.execute(
            text(
                "SELECT e.type, d.url FROM deliveries d JOIN events e ON e.id = event_id ORDER BY d.id"
            )
        )
        assert [tuple(row) for row in told] == [
            ("batch.progress", "https://example.com/hook"),
            ("batch.completed", "https://example.com/mine"),
        ]


async def test_a_project_has_so_many_batches_that_are_not_over(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = api.state.settings.model_copy(update={"batches_max": 1})
    monkeypatch.setattr(api.state, "settings", few)
    key = {"idempotency-key": "night"}
    first = await api.client.post("/v1/batches", json={"items": rows(1)}, headers=key)
    one_more = {"items": [row("more")]}
    refused = problem(await api.client.post("/v1/batches", json=one_more), 409, "limit_reached")
    assert "cancel one" in str(refused["detail"])
    again = await api.client.post("/v1/batches", json={"items": rows(1)}, headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert (
        await api.client.post("/v1/jobs", json={"input": row("two")["input"], "n": 2})
    ).status_code == 202
    other = await api.another_project()
    assert (await api.client.post("/v1/batches", json=one_more, headers=other)).status_code == 202
    await api.client.post(f"/v1/batches/{first.json()['id']}/cancel")
    await look(api, first.json())
    made = await taken(api, [row("more")])
    retry = f"/v1/batches/{first.json()['id']}/retry"
    canceled = {"only": ["canceled"]}
    problem(await api.client.post(retry, json=canceled), 409, "limit_reached")
    await api.client.post(f"/v1/batches/{made['id']}/cancel")
    await look(api, made)
    assert (await api.client.post(retry, json=canceled)).status_code == 202


async def test_a_batch_that_its_money_pauses_tells_so(api: Api) -> None:
    mine = {"url": "https://example.com/mine"}
    made = await taken(api, rows(2), max_cost=PRICE, webhook=mine)
    await look(api, made)
    await api.life.succeed(job_id((await jobs_of(api, made))[0]["id"]))
    assert (await look(api, made))["paused_for"] == "max_cost"
    async with api.life.database.transaction() as tx:
        (told,) = (
            await tx.scalars(text("SELECT body FROM events WHERE type = 'batch.paused'"))
        ).all()
    assert json.loads(told)["data"]["paused_for"] == "max_cost"
    assert (await jobs_of(api, made))[1]["status"] == "queued"


async def test_whoever_waits_for_a_batch_is_answered_at_its_end(api: Api) -> None:
    made = await taken(api, rows(1))
    await look(api, made)
    (only,) = await jobs_of(api, made)
    waiting = asyncio.create_task(
        api.client.get(f"/v1/batches/{made['id']}", params={"wait": "20"})
    )
    await api.life.succeed(job_id(only["id"]))
    await look(api, made)
    assert (await waiting).json()["status"] == "completed"
    stream = await api.client.get(f"/v1/batches/{made['id']}/events")
    assert stream.text.startswith("id: ")
    assert '"status":"completed"' in stream.text
    tag = {"last-event-id": stream.text.splitlines()[0].removeprefix("id: ")}
    again = await api.client.get(f"/v1/batches/{made['id']}/events", headers=tag)
    assert again.status_code == 204, "a browser would come back for ever"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/zip", "application/zip"),
        ("text/csv", "text/csv"),
        ("application/zip;q=0.5, text/csv", "text/csv"),
        ("text/csv;q=0.5, application/zip", "application/zip"),
        ("application/x-ndjson, application/zip;q=0.5", "application/x-ndjson"),
        ("application/zip;q=0", "application/x-ndjson"),
        ("*/*", "application/x-ndjson"),
    ],
)
async def test_results_come_as_accept_prefers(api: Api, accept: str, kind: str) -> None:
    made = await taken(api, rows(1))
    results = f"/v1/batches/{made['id']}/results"
    answer = await api.client.get(results, headers={"accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert answer.headers["vary"] == "Accept"
    said = await api.client.get(f"{results}?format=ndjson", headers={"accept": accept})
    assert said.headers["content-type"] == "application/x-ndjson"
