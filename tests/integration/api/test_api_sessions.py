"""How a browser signs in, what its session may do, and how it ends."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import select, text

from models.accounts import api_keys, sessions
from models.schema import Session
from tests.conftest import PLAIN
from tests.integration.api.client import Api, bearer, body, problem


@pytest.fixture
async def browser(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as opened:
        yield opened


async def sign_in(browser: httpx.AsyncClient, **given: str) -> httpx.Response:
    answer = await browser.post("/session", json=given)
    assert answer.status_code == 201, answer.text
    browser.headers["x-csrf-token"] = answer.json()["csrf_token"]
    return answer


async def test_a_session_is_a_cookie_that_no_script_reads_and_no_table_holds(
    api: Api, browser: httpx.AsyncClient
) -> None:
    assert (await browser.get("/session")).json() == {"signed_in": False}
    answer = await sign_in(browser, key=api.key)
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(
        r"darkroom=drs_\w{40}; HttpOnly; Max-Age=28800; Path=/; SameSite=strict", cookie
    )
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert (said["project"]["name"], said["scopes"]) == ("shop", sorted(said["scopes"]))
    token = browser.cookies["darkroom"]
    assert api.key not in answer.text
    assert token not in answer.text
    assert (await browser.get("/session")).json() == said
    async with api.life.database.transaction() as tx:
        (kept,) = await tx.scalars(select(Session))
        assert token.encode() not in kept.token_hash
        assert kept.expires_at - datetime.now(UTC) < timedelta(hours=8)


async def test_what_signs_in_is_a_key_or_a_link_and_nothing_else(
    api: Api, browser: httpx.AsyncClient
) -> None:
    stranger = api_keys.new_key()
    problem(await browser.post("/session", json={"key": stranger}), 401, "unauthenticated")
    problem(await browser.post("/session", json={"link": "drs_0"}), 401, "unauthenticated")
    wrongs: list[object] = [{}, {"key": 1}, {"key": ""}, {"key": api.key, "link": "drs_"}, [], "k"]
    for wrong in wrongs:
        problem(await browser.post("/session", json=wrong), 422, "invalid_request")
    for broken in (b"", b"{", b'{"key": "a", "key": "b"}'):
        json = {"content-type": "application/json"}
        answer = await browser.post("/session", content=broken, headers=json)
        problem(answer, 400, "malformed_json")
    form = await browser.post("/session", data={"key": api.key})
    problem(form, 415, "unsupported_media_type")
    plain = {"content-type": "text/plain"}
    told = await browser.post("/session", content=f'{{"key": "{api.key}"}}', headers=plain)
    problem(told, 415, "unsupported_media_type")
    assert browser.cookies == httpx.Cookies()


async def test_a_session_acts_as_its_key_and_writes_only_with_its_csrf_token(
    api: Api, browser: httpx.AsyncClient
) -> None:
    narrow = (await api.key_with("jobs:read", "jobs:write"))["authorization"]
    await sign_in(browser, key=narrow.removeprefix("Bearer "))
    made = await browser.post("/v1/jobs", json=body())
    assert made.status_code == 202
    assert (await browser.get(f"/v1/jobs/{made.json()['id']}")).status_code == 200
    assert made.headers["ratelimit"]
    problem(await browser.get("/v1/keys"), 403, "scope_missing")
    right = browser.headers.pop("x-csrf-token")
    for wrong in ({}, {"x-csrf-token": right[:-1]}, {"x-csrf-token": right + "0"}):
        problem(await browser.post("/v1/jobs", json=body(), headers=wrong), 403, "csrf_missing")
        problem(await browser.request("DELETE", "/session", headers=wrong), 403, "csrf_missing")
    assert (await browser.get("/v1/jobs")).status_code == 200
    # Whoever sends a key is not asked for it, whatever cookie comes along.
    keyed = await browser.post("/v1/jobs", json=body(), headers=bearer(api.key))
    assert keyed.status_code == 202


async def test_signing_out_ends_the_session_also_for_who_kept_its_cookie(
    api: Api, browser: httpx.AsyncClient
) -> None:
    await sign_in(browser, key=api.key)
    kept = browser.cookies["darkroom"]
    out = await browser.delete("/session")
    assert out.status_code == 204
    assert "darkroom" not in browser.cookies
    async with httpx.AsyncClient(base_url=api.url, cookies={"darkroom": kept}) as thief:
        problem(await thief.get("/v1/jobs"), 401, "unauthenticated")
        assert (await thief.get("/session")).json() == {"signed_in": False}


async def test_signing_in_anew_ends_the_session_before(
    api: Api, browser: httpx.AsyncClient
) -> None:
    await sign_in(browser, key=api.key)
    before = browser.cookies["darkroom"]
    await sign_in(browser, key=api.key)
    assert browser.cookies["darkroom"] != before
    async with httpx.AsyncClient(base_url=api.url, cookies={"darkroom": before}) as thief:
        problem(await thief.get("/v1/jobs"), 401, "unauthenticated")


async def test_a_session_ends_with_its_key(api: Api, browser: httpx.AsyncClient) -> None:
    made = await api.client.post("/v1/keys", json={"name": "k", "scopes": ["jobs:read"]})
    await sign_in(browser, key=made.json()["key"])
    await api.client.delete(f"/v1/keys/{made.json()['id']}")
    token = browser.cookies["darkroom"]
    api.state.callers.forget(token)  # other processes believe it for five seconds more
    problem(await browser.get("/v1/jobs"), 401, "unauthenticated")


async def test_a_renewed_session_lives_no_longer_than_its_eight_hours(
    api: Api, browser: httpx.AsyncClient
) -> None:
    first = await sign_in(browser, key=api.key)
    before = browser.cookies["darkroom"]
    renewed = await browser.post("/session/renew")
    assert renewed.status_code == 200
    assert renewed.json()["expires_at"] == first.json()["expires_at"]
    assert browser.cookies["darkroom"] != before
    problem(await browser.post("/session/renew"), 403, "csrf_missing")  # the token is a fresh one
    browser.headers["x-csrf-token"] = renewed.json()["csrf_token"]
    assert (await browser.post("/v1/jobs", json=body())).status_code == 202
    async with api.life.database.transaction() as tx:
        rows = await tx.execute(text("SELECT count(*), min(expires_at) - now() FROM sessions"))
        count, left = rows.one()
    assert count == 2
    assert left <= timedelta(seconds=60)  # for requests under way with the token before


async def test_a_link_signs_in_once_and_within_its_minute(
    api: Api, browser: httpx.AsyncClient
) -> None:
    made = (await api.client.post("/session/link")).json()
    where, _, link = made["url"].partition("#/sign-in/")
    assert where == f"{api.state.settings.public_url.rstrip('/')}/"
    async with httpx.AsyncClient(base_url=api.url, cookies={"darkroom": link}) as thief:
        problem(await thief.get("/v1/jobs"), 401, "unauthenticated")
    assert (await sign_in(browser, link=link)).json()["project"]["name"] == "shop"
    problem(await browser.post("/session", json={"link": link}), 401, "unauthenticated")
    problem(await browser.post("/session/link"), 401, "unauthenticated")  # a session makes none
    late = (await api.client.post("/session/link")).json()["url"].partition("#/sign-in/")[2]
    async with api.life.database.transaction() as tx:
        await tx.execute(text("UPDATE sessions SET expires_at = now() WHERE kind = 'link'"))
    problem(await browser.post("/session", json={"link": late}), 401, "unauthenticated")


async def test_sessions_that_are_over_leave_the_table(api: Api, browser: httpx.AsyncClient) -> None:
    await sign_in(browser, key=api.key)
    async with api.life.database.transaction() as tx:
        assert await sessions.forget(tx, 100) == 0
        await tx.execute(text("UPDATE sessions SET expires_at = now() - interval '1 second'"))
        assert await sessions.forget(tx, 100) == 1
        assert await tx.scalar(text("SELECT count(*) FROM sessions")) == 0


async def test_a_key_has_so_many_sessions_and_the_oldest_go(
    api: Api, browser: httpx.AsyncClient
) -> None:
    await sign_in(browser, key=api.key)
    async with api.life.database.transaction() as tx:
        await tx.execute(
            text(
                "INSERT INTO sessions (id, key_id, kind, token_hash, expires_at)"
                " SELECT gen_random_uuid(), key_id, 'browser', decode(md5(n::text), 'hex'),"
                " now() + interval '1 h' FROM sessions, generate_series(1, 500) n"
            )
        )
    await sign_in(browser, key=api.key)
    renewed = await browser.post("/session/renew")
    assert renewed.status_code == 200
    async with api.life.database.transaction() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM sessions")) in {100, 101}


async def test_behind_tls_the_cookie_is_for_tls_alone(api: Api, browser: httpx.AsyncClient) -> None:
    settings = api.state.settings
    api.state.settings = settings.model_copy(update={"public_url": "https://darkroom.example"})
    try:
        answer = await browser.post("/session", json={"key": api.key})
    finally:
        api.state.settings = settings
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-darkroom=drs_")
    assert cookie.endswith("; Secure")
    assert sessions.well_formed(cookie.partition("=")[2].partition(";")[0])


async def test_the_page_runs_nothing_but_its_own_files_and_makes_no_html(
    browser: httpx.AsyncClient,
) -> None:
    page = await browser.get("/", headers={"accept": "text/html"})
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert "style=" not in page.text
    for name in re.findall(r'(?:src|href)="(page/[^"]+)"', page.text):
        found = await browser.get(f"/{name}")
        assert found.status_code == 200
        etag = {"if-none-match": found.headers["etag"]}
        assert (await browser.get(f"/{name}", headers=etag)).status_code == 304
    problem(await browser.get("/page/package.json"), 404, "not_found")
