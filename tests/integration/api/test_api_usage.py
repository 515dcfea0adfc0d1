"""What was spent, line by line, and what a job would cost: as a caller of the API sees it."""

import csv
import io
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from urllib.parse import quote
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest
from PIL import Image

from api.contract.formats.spreadsheet import stream, wanted
from api.contract.openapi import examples
from models import ids
from models.errors import Unavailable
from models.jobs import retention
from models.settings import Settings
from tests.fixtures.zones import NOON
from tests.integration.api.client import PRICE, Api, Body, body, input_, pointers, problem
from tests.integration.api.life import Life

COST = {"credits": PRICE, "usd": "0.0455"}
NOTHING = {"credits": 0, "usd": "0.00"}
CSV = {"accept": "text/csv"}
COLUMNS = [
    "at", "made_at", "job", "attempt", "kind", "credits", "usd", "key", "customer",
    "inference_id", "reference",
]  # fmt: skip


async def get(api: Api, path: str, **headers: str) -> Body:
    answer = await api.client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    found: Body = answer.json()
    return found


def data(page: Body) -> list[Body]:
    return cast("list[Body]", page["data"])


async def fill(life: Life, job: UUID, lines: int, **values: object) -> None:
    """Book charges of one credit each, more than any job ever has."""
    columns = {"customer": None, "reference": "", "inference_id": None} | values
    await life.alter(
        "INSERT INTO ledger (project_id, key_id, customer, job_id, attempt, kind, credits,"
        " reference, inference_id)"
        " SELECT project_id, key_id, :customer, id, n, 'charge', 1, :reference, :inference_id"
        " FROM jobs, generate_series(1, CAST(:lines AS int)) n WHERE id = :job",
        job=job, lines=lines, **columns,
    )  # fmt: skip


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))


async def test_a_report_counts_what_happened_and_what_it_cost(api: Api) -> None:
    await api.life.succeed(await api.submit(customer="c_9", tags=["a", "b"]))
    await api.submit(tags=["b"])
    totals = {
        "jobs": {"submitted": 2, "succeeded": 1, "failed": 0, "canceled": 0, "expired": 0},
        "attempts": 1,
        "charged": COST,
        "unknown": NOTHING,
        "held": COST,
        "saved": NOTHING,
    }
    found = await get(api, f"/v1/usage?tz={quote(NOON)}")
    today = f"{datetime.now(ZoneInfo(NOON)):%Y-%m-%d}"
    assert found["data"] == [{"day": today, **totals}]
    assert (found["object"], found["tz"], found["group_by"]) == ("usage", NOON, ["day"])
    assert found["totals"] == totals
    found = await get(api, "/v1/usage?group_by=tag,model")
    assert found["tz"] == "UTC"
    assert [(each["tag"], each["overlapping"], each["charged"]) for each in data(found)] == [
        ("a", True, COST), ("b", True, COST),
    ]  # fmt: skip
    assert found["totals"] == totals
    found = await get(api, "/v1/usage?group_by=key,customer")
    key = ids.text(ids.KEY, api.life.caller.key_id)
    assert [(each["key"], each["customer"]) for each in data(found)] == [(key, "c_9"), (key, None)]
    assert "overlapping" not in data(found)[0]


async def test_what_a_removed_job_cost_is_of_no_model(api: Api) -> None:
    await api.life.succeed(await api.submit(tags=["a"]))
    await api.life.alter("UPDATE images SET removed_at = now()")
    async with api.life.database.transaction() as tx:
        assert await retention.remove_jobs(tx, timedelta(0), 9) == 1
    found = await get(api, "/v1/usage?group_by=model,tag")
    assert [(each["model"], each["tag"], each["charged"]) for each in data(found)] == [
        (None, None, COST)
    ]


async def test_without_a_dimension_there_are_only_totals(api: Api) -> None:
    await api.submit()
    found = await get(api, "/v1/usage?group_by=")
    assert found["data"] == []
    assert cast("Body", found["totals"])["held"] == COST


async def test_a_report_is_of_the_last_thirty_days_unless_it_is_told(api: Api) -> None:
    job = await api.submit()
    await api.life.alter(
        "UPDATE jobs SET created_at = now() - interval '29 d 23 h' WHERE id = :job", job=job
    )
    assert len(data(await get(api, "/v1/usage"))) == 1
    await api.life.alter(
        "UPDATE jobs SET created_at = now() - interval '30 d 1 h' WHERE id = :job", job=job
    )
    assert data(await get(api, "/v1/usage")) == []
    long_ago = (datetime.now(UTC) - timedelta(days=399)).isoformat().replace("+00:00", "Z")
    assert len(data(await get(api, f"/v1/usage?from={long_ago}"))) == 1
    found = await get(api, "/v1/usage?to=2026-05-31T00:00:00Z")
    assert (found["from"], found["to"]) == ("2026-05-01T00:00:00.000Z", "2026-05-31T00:00:00.000Z")


async def test_days_are_those_of_the_time_zone(api: Api) -> None:
    at = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
    await api.life.alter(
        "UPDATE jobs SET created_at = :at, id = :id WHERE id = :job",
        job=await api.submit(), at=at, id=ids.first_at(at),
    )  # fmt: skip
    month = "/v1/usage?from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00%2B02:00"
    assert data(await get(api, month))[0]["day"] == "2026-03-28"
    assert data(await get(api, f"{month}&tz=Europe/Berlin"))[0]["day"] == "2026-03-29"


BAD_USAGE: list[tuple[str, str]] = [
    ("tz=Mars/Olympus", "query:tz"),
    ("tz=localtime", "query:tz"),
    ("tz=", "query:tz"),
    ("tz=UTC%2B3", "query:tz"),
    ("tz=../UTC", "query:tz"),
    ("group_by=day,hour", "query:group_by"),
    ("group_by=day;DROP", "query:group_by"),
    ("from=2026-05-01T00:00:00", "query:from"),
    ("from=yesterday", "query:from"),
    ("to=2026-13-01T00:00:00Z", "query:to"),
    ("from=2026-05-02T00:00:00Z&to=2026-05-02T00:00:00Z", "query:from"),
    ("from=2026-05-02T00:00:00Z&to=2026-05-01T00:00:00Z", "query:from"),
    ("from=2024-01-01T00:00:00Z&to=2025-02-04T00:00:01Z", "query:from"),
    ("from=2999-01-01T00:00:00Z", "query:from"),
    ("from=0001-01-01T00:00:00Z", "query:from"),
    ("to=0001-01-01T00:00:00Z", "query:to"),
    ("until=2026-05-02T00:00:00Z", "query:until"),
]


async def test_a_report_that_cannot_be_made_names_the_parameter(
    api: Api, subtests: pytest.Subtests
) -> None:
    for query, pointer in BAD_USAGE:
        with subtests.test(query):
            answer = await api.client.get(f"/v1/usage?{query}")
            problem(answer, 422, "invalid_request")
            assert pointers(answer) == [pointer]


async def test_the_longest_and_the_earliest_time_can_be_asked_for(api: Api) -> None:
    await get(api, "/v1/usage?from=2024-01-01T00:00:00Z&to=2025-02-04T00:00:00Z")
    found = await get(api, "/v1/usage?to=0001-01-05T00:00:00Z")
    assert found["from"] == "0001-01-01T00:00:00.000Z"


async def test_what_was_spent_is_for_keys_that_may_read_it(api: Api) -> None:
    reader = await api.key_with("jobs:read", "jobs:write")
    accountant = await api.key_with("usage:read")
    for path in ("/v1/usage", "/v1/ledger"):
        problem(await api.client.get(path, headers=reader), 403, "scope_missing")
        problem(await api.client.get(path, headers={"authorization": ""}), 401, "unauthenticated")
        await get(api, path, **accountant)
    asked = {"input": input_()}
    assert (await api.client.post("/v1/quotes", json=asked, headers=reader)).status_code == 200
    problem(
        await api.client.post("/v1/quotes", json=asked, headers=accountant), 403, "scope_missing"
    )


async def test_another_project_sees_none_of_it(api: Api) -> None:
    job = await api.submit()
    await api.life.succeed(job)
    other = await api.another_project()
    found = await get(api, "/v1/usage", **other)
    assert (found["data"], cast("Body", found["totals"])["charged"]) == ([], NOTHING)
    mine = f"/v1/ledger?job={ids.text(ids.JOB, job)}"
    assert len(data(await get(api, mine))) == 3
    for path in ("/v1/ledger", mine):
        assert await get(api, path, **other) == {
            "object": "list", "data": [], "has_more": False, "next_cursor": None,
        }  # fmt: skip
        answer = await api.client.get(path, headers=other | CSV)
        assert answer.text == ",".join(COLUMNS) + "\r\n"


async def test_the_ledger_shows_each_line_with_what_it_is_about(api: Api) -> None:
    job = await api.submit(customer="c_9")
    await api.life.succeed(job)
    found = data(await get(api, "/v1/ledger"))
    assert [(each["kind"], each["credits"], each["usd"]) for each in found] == [
        ("charge", PRICE, "0.0455"), ("release", -PRICE, "-0.0455"), ("hold", PRICE, "0.0455"),
    ]  # fmt: skip
    charge = found[0]
    at = charge.pop("at")
    assert isinstance(at, str)
    assert datetime.fromisoformat(at).tzinfo is not None
    assert charge == {
        "made_at": None, "job": ids.text(ids.JOB, job), "attempt": 1, "kind": "charge",
        "credits": PRICE, "usd": "0.0455", "key": ids.text(ids.KEY, api.life.caller.key_id),
        "customer": "c_9", "inference_id": "inf-1", "reference": "",
    }  # fmt: skip


async def test_cursors_lead_through_the_whole_ledger(api: Api) -> None:
    await fill(api.life, await api.submit(), 6)
    whole = data(await get(api, "/v1/ledger"))
    assert len(whole) == 7
    seen: list[Body] = []
    page = await get(api, "/v1/ledger?limit=3")
    seen += data(page)
    await api.submit()  # what is booked meanwhile is newer, and moves nothing
    while page["has_more"]:
        page = await get(api, f"/v1/ledger?limit=3&cursor={page['next_cursor']}")
        seen += data(page)
    assert page["next_cursor"] is None
    assert seen == whole


async def test_the_ledger_is_filtered(api: Api) -> None:
    first, second = await api.submit(customer="c_1"), await api.submit(customer="c_2")
    await api.life.succeed(first)
    await api.life.alter("UPDATE ledger SET made_at = '2026-01-01T00:00:00Z' WHERE kind = 'charge'")
    key = ids.text(ids.KEY, api.life.caller.key_id)

    async def count(query: str) -> int:
        return len(data(await get(api, f"/v1/ledger?{query}")))

    assert await count(f"job={ids.text(ids.JOB, second)}") == 1
    assert await count(f"job={ids.text(ids.JOB, ids.new())}") == 0
    assert await count("customer=c_1&kind=hold") == 1
    assert await count(f"key={key}&kind=release") == 1
    assert await count(f"key={ids.text(ids.KEY, ids.new())}") == 0
    assert await count("from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z") == 1
    assert await count("to=2026-01-01T00:00:00Z") == 0


BAD_LEDGER = [
    ("cursor=abc", "query:cursor"),
    ("cursor=%C3%A9", "query:cursor"),
    ("cursor=", "query:cursor"),
    (f"cursor={urlsafe_b64encode(bytes(8)).decode()}", "query:cursor"),
    (f"cursor={urlsafe_b64encode(bytes([255] * 8)).decode()}", "query:cursor"),
    ("job=job_1", "query:job"),
    ("key=job_01kar4d2c9ez7t6p1m8n5q0rvw", "query:key"),
    ("kind=theft", "query:kind"),
    ("customer=a%20b", "query:customer"),
    ("limit=0", "query:limit"),
    ("limit=1001", "query:limit"),
    ("from=2026-05-02T00:00:00Z&to=2026-05-01T00:00:00Z", "query:from"),
    ("tag=a", "query:tag"),
]


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
async def test_a_ledger_that_cannot_be_read_names_the_parameter(
    api: Api, accept: str, subtests: pytest.Subtests
) -> None:
    for query, pointer in BAD_LEDGER:
        with subtests.test(query):
            answer = await api.client.get(f"/v1/ledger?{query}", headers={"accept": accept})
            problem(answer, 422, "invalid_request")
            assert pointers(answer) == [pointer]


async def test_csv_has_the_same_lines_as_json(api: Api) -> None:
    await api.life.succeed(await api.submit(customer="c_9"))
    answer = await api.client.get("/v1/ledger", headers=CSV)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="ledger.csv"'
    assert answer.headers["vary"] == "Accept"
    assert answer.text.split("\r\n")[0] == ",".join(COLUMNS)
    assert answer.text.endswith("\r\n")
    lines = data(await get(api, "/v1/ledger"))
    assert rows(answer) == [
        {name: "" if value is None else str(value) for name, value in line.items()}
        for line in lines
    ]


async def test_csv_is_the_whole_selection_and_not_a_page(api: Api) -> None:
    job = await api.submit()
    await fill(api.life, job, 10_000, reference="r" * 64)
    async with api.client.stream("GET", "/v1/ledger?kind=charge&limit=5", headers=CSV) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in answer.headers
        await answer.aread()
    found = rows(answer)
    assert [int(each["attempt"]) for each in found] == list(range(10_000, 0, -1))
    assert sum(int(each["credits"]) for each in found) == 10_000


TEXTS = [
    ("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
    ("+1", "'+1"),
    ("-1+1", "'-1+1"),
    ("-1", "-1"),
    ("@SUM(A1)", "'@SUM(A1)"),
    ("\t=1", "'\t=1"),
    ("\r=1", "'\r=1"),
    ("\uff1d1", "'\uff1d1"),
    ('a "b", c', 'a "b", c'),
    ("two\r\nlines", "two\r\nlines"),
    ("1-1", "1-1"),
]


async def test_no_text_is_a_formula_and_every_text_comes_back(
    api: Api, subtests: pytest.Subtests
) -> None:
    for text, cell in TEXTS:
        with subtests.test(text):
            job = await api.submit(customer="-c")
            await fill(api.life, job, 1, customer=text, reference=text, inference_id=text)
            path = f"/v1/ledger?job={ids.text(ids.JOB, job)}"
            newest, hold = rows(await api.client.get(path, headers=CSV))
            assert {newest[name] for name in ("customer", "reference", "inference_id")} == {cell}
            assert (hold["customer"], hold["credits"]) == ("'-c", str(PRICE))
            assert data(await get(api, path))[0]["customer"] == text


async def test_a_negative_number_stays_a_number(api: Api) -> None:
    job = await api.submit()
    await api.client.post(f"/v1/jobs/{ids.text(ids.JOB, job)}/cancel")
    released, _ = rows(await api.client.get("/v1/ledger", headers=CSV))
    assert (released["credits"], released["usd"]) == (str(-PRICE), "-0.0455")


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("text/csv", True),
        ("Text/CSV; charset=utf-8", True),
        ("text/csv, */*;q=0.1", True),
        ("application/json;q=0.5, text/csv;q=0.9", True),
        ("application/json, text/csv;q=0.9", False),
        ("text/csv;q=0", False),
        ("text/*", False),
        ("*/*", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_csv_is_given_to_whoever_prefers_it(accept: str, *, is_csv: bool) -> None:
    assert wanted(None, accept) is is_csv


async def failing_after(parts: int) -> AsyncIterator[list[Body]]:
    for number in range(parts):
        yield [{"n": number}]
    raise Unavailable("Postgres did not answer.")


async def test_a_file_that_cannot_be_begun_is_refused() -> None:
    with pytest.raises(Unavailable):
        await stream(["n"], failing_after(0), "n.csv")


async def test_a_file_that_is_broken_off_does_not_look_whole() -> None:
    answer = await stream(["n"], failing_after(2), "n.csv")
    seen = []
    with pytest.raises(Unavailable):  # noqa: PT012 - the parts before the break count
        async for part in answer.body_iterator:
            seen.append(part)  # noqa: PERF401 - as above
    assert seen == ["n\r\n0\r\n", "1\r\n"]


async def test_a_quote_is_what_a_submission_holds(api: Api) -> None:
    answer = await api.client.post("/v1/quotes", json={"input": input_()})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "object": "quote",
        "model": input_()["model"],
        "price": {**COST, "per": "image", "source": "catalog"},
        "estimated": COST,
        "worst_case": {"credits": 2 * PRICE, "usd": "0.091"},
        "max_attempts": 5,
        "max_cost": 2 * PRICE,
    }
    job = await api.submit()
    assert cast("Body", (await api.job(job))["cost"])["held"] == PRICE
    (held,) = await kept(api, "SELECT max_cost FROM jobs")
    assert held == 2 * PRICE


async def test_a_price_that_was_learned_is_quoted_and_says_so(api: Api) -> None:
    await api.life.alter(
        "INSERT INTO prices (model, credits, quoted) VALUES (:model, 100000, 100000)",
        model=input_()["model"],
    )
    quote = (await api.client.post("/v1/quotes", json={"input": input_()})).json()
    assert quote["price"] == {
        "credits": 100_000, "usd": "0.05", "per": "image", "source": "provider",
    }  # fmt: skip
    assert quote["estimated"] == {"credits": 100_000, "usd": "0.05"}
    assert quote["max_cost"] == 200_000


BOUNDS: list[tuple[Body, int]] = [
    ({"max_attempts": 1}, PRICE),
    ({"max_attempts": 10, "max_cost": 5 * PRICE}, 5 * PRICE),
    ({"max_attempts": 3, "max_cost": 50 * PRICE}, 3 * PRICE),
    ({"max_cost": PRICE}, PRICE),
]


async def test_attempts_and_cost_bound_the_worst_case(api: Api, subtests: pytest.Subtests) -> None:
    for options, worst in BOUNDS:
        with subtests.test(str(options)):
            answer = await api.client.post("/v1/quotes", json={"input": input_()} | options)
            assert answer.json()["worst_case"]["credits"] == worst


UNQUOTABLE: list[Body] = [
    {"input": {"model": "none", "prompt": ""}},
    {"input": "a fox"},
    {"input": input_(image_size={"width": 1})},
    {"input": input_(), "max_cost": PRICE - 1},
    {"input": input_(), "max_cost": 0},
    {"input": input_(), "max_attempts": 11},
    {"input": input_(), "max_attempts": "5"},
    {},
]


async def test_a_quote_is_refused_as_its_submission_would_be(
    api: Api, subtests: pytest.Subtests
) -> None:
    for wrong in UNQUOTABLE:
        with subtests.test(str(wrong)):
            quoted = await api.client.post("/v1/quotes", json=wrong)
            submitted = await api.client.post("/v1/jobs", json=wrong)
            problem(quoted, 422, "invalid_request")
            assert quoted.json()["errors"] == submitted.json()["errors"]


async def test_a_quote_takes_only_what_matters_for_the_cost(api: Api) -> None:
    answer = await api.client.post("/v1/quotes", json=body(customer="c_1"))
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == ["/customer"]


async def test_a_quote_leaves_nothing_behind(api: Api, settings: Settings) -> None:
    written = io.BytesIO()
    Image.effect_noise((1100, 1100), 90).save(written, "PNG")
    reference = f"data:image/png;base64,{b64encode(written.getvalue()).decode()}"
    assert len(reference) > 1 << 20  # more than any other route takes
    asked = {"input": input_(image_urls=[reference])}
    answer = await api.client.post("/v1/quotes", json=asked)
    assert answer.status_code == 200, answer.text
    assert [await api.life.count(table) for table in ("jobs", "ledger", "events")] == [0, 0, 0]
    assert files(Path(settings.storage_url)) == []


async def test_the_quote_of_the_documentation_is_what_a_plain_job_costs(api: Api) -> None:
    assert (await api.client.post("/v1/quotes", json={"input": input_()})).json() == examples.QUOTE


def files(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


async def kept(api: Api, statement: str) -> list[int]:
    async with api.life.database.transaction() as tx:
        connection = await tx.connection()
        return [int(each[0]) for each in await connection.exec_driver_sql(statement)]
