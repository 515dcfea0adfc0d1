"""`GET /v1/jobs/{id}`: entity tags, and images inside the answer."""

from base64 import b64decode

import pytest

from models.settings import Settings
from tests.integration.api.client import (
    PRICE,
    Api,
    cost,
    input_,
    path,
    pointers,
    problem,
    unknown_until,
)
from tests.integration.api.conftest import Serve
from tests.integration.api.life import PICTURE


async def test_an_unfinished_job_says_when_to_ask_again_and_a_finished_one_does_not(
    api: Api,
) -> None:
    job = await api.submit()
    assert int((await api.client.get(path(job))).headers["retry-after"]) >= 1
    await api.life.succeed(job)
    finished = await api.client.get(path(job))
    assert "retry-after" not in finished.headers
    assert finished.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("written", ["{}", "W/{}", '"other", {}', '{} , "other"', "*"])
async def test_who_has_the_present_state_gets_304_without_a_body(api: Api, written: str) -> None:
    job = await api.submit()
    first = await api.client.get(path(job))
    tag = first.headers["etag"]
    assert tag.startswith('"')
    assert tag.endswith('"')
    again = await api.client.get(path(job), headers={"if-none-match": written.format(tag)})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    assert again.headers["x-request-id"]


async def test_the_tag_changes_with_each_change_that_can_be_seen(api: Api) -> None:
    job = await api.submit()
    seen = [(await api.client.get(path(job))).headers["etag"]]

    async def assert_changed() -> None:
        answer = await api.client.get(path(job), headers={"if-none-match": ", ".join(seen)})
        assert answer.status_code == 200
        seen.append(answer.headers["etag"])

    ref = await api.life.start(job)
    await assert_changed()
    await api.client.post(path(job, "/cancel"))
    await assert_changed()
    await api.life.finish(ref)
    await assert_changed()


async def test_a_closed_gate_is_a_change_that_can_be_seen(api: Api) -> None:
    job = await api.submit()
    tag = (await api.client.get(path(job))).headers["etag"]
    await api.life.alter("INSERT INTO gates (reason) VALUES ('wallet_empty')")
    answer = await api.client.get(path(job), headers={"if-none-match": tag})
    assert (answer.status_code, answer.json()["waiting_reason"]) == (200, "wallet_empty")


async def test_a_dispatched_job_still_looks_queued_and_keeps_its_tag(api: Api) -> None:
    job = await api.submit()
    before = await api.client.get(path(job))
    await api.life.dispatch(job)
    after = await api.client.get(path(job))
    assert after.json() == before.json()
    assert after.headers["etag"] == before.headers["etag"]


async def test_a_failed_job_says_what_happened_and_that_nothing_was_charged(api: Api) -> None:
    job = await api.submit()
    await api.life.fail(job)
    shown = await api.job(job)
    assert shown["status"] == "failed"
    assert shown["error"] == {
        "code": "content_refused", "message": "not this", "retryable": False, "charged": "no",
        "details": None,
    }  # fmt: skip
    assert shown["result"] is None


async def test_an_unknown_charge_is_shown_as_such(api: Api) -> None:
    job = await api.submit(on_unknown_charge="fail")
    await api.life.lose(await api.life.start(job))
    shown = await api.job(job)
    assert shown["cost"] == cost(unknown_until(shown), estimated=PRICE, unknown=PRICE, held=PRICE)
    assert shown["charged"] == "unknown"
    error = shown["error"]
    assert isinstance(error, dict)
    assert (error["code"], error["charged"]) == ("outcome_unknown", "unknown")


async def test_the_bytes_are_inside_the_answer_for_one_job_and_never_in_lists(api: Api) -> None:
    job = await api.submit(input=input_(response_format="b64_json"))
    await api.life.succeed(job)
    one = (await api.client.get(path(job))).json()
    assert b64decode(one["result"]["data"][0]["b64_json"]) == PICTURE
    many = (await api.client.get("/v1/jobs")).json()
    assert "b64_json" not in many["data"][0]["result"]["data"][0]
    canceled = (await api.client.post(path(job, "/cancel"))).json()
    assert "b64_json" not in canceled["result"]["data"][0]


async def test_a_job_whose_image_is_gone_from_the_store_is_still_told(api: Api) -> None:
    job = await api.submit(input=input_(response_format="b64_json"))
    await api.life.succeed(job)
    for blob in api.life.blobs():
        blob.unlink()
    shown = await api.client.get(path(job))
    assert (shown.status_code, shown.json()["status"]) == (200, "succeeded")
    assert "b64_json" not in shown.json()["result"]["data"][0]


@pytest.mark.parametrize("wait", ["-1", "61", "soon", "1" * 5000])
async def test_a_wait_that_is_too_long_or_no_number_is_refused(api: Api, wait: str) -> None:
    job = await api.submit()
    answer = await api.client.get(path(job), params={"wait": wait})
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == ["query:wait"]


@pytest.mark.parametrize(
    "written", ["job_x", "job_", "x", "att_01m81h9c48e5mvy6h335yyrt0d", "job_" + "z" * 26, "%00"]
)
async def test_what_is_no_id_is_not_found(api: Api, written: str) -> None:
    answer = await api.client.get(f"/v1/jobs/{written}")
    said = problem(answer, 404, "not_found")
    assert said["detail"] == "There is no such job in this project."


async def test_unknown_paths_and_methods_are_refused_in_the_same_form(api: Api) -> None:
    problem(await api.client.get("/v2/jobs"), 404, "not_found")
    refused = await api.client.put("/v1/jobs", json={})
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"]


async def test_a_bug_is_a_500_with_its_request_id(settings: Settings, serving: Serve) -> None:
    async with serving(settings) as api:
        job = await api.submit()
        await api.life.alter("UPDATE jobs SET attempt = 1")
        await api.life.alter("ALTER TABLE attempts RENAME TO lost")
        answer = await api.client.get(path(job))
    said = problem(answer, 500, "internal_error")
    assert "attempts" not in answer.text
    assert said["retryable"] is False
