"""`GET /v1/jobs/{id}/images/{n}`: by key or by signed URL, whole or in part."""

import time
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from models.images.storage import Store
from models.images.urls import signed_message
from tests.conftest import PLAIN
from tests.integration.api.client import Api, path, problem
from tests.integration.api.life import PICTURE

SIZE = len(PICTURE)


async def shown(api: Api) -> dict[str, str]:
    """Make a job with an image; returns the image as the job shows it."""
    job = await api.submit()
    await api.life.succeed(job)
    result = (await api.job(job))["result"]
    assert isinstance(result, dict)
    data: dict[str, str] = result["data"][0]
    return data


def signed(data: dict[str, str], which: str = "url") -> str:
    """Return the path and the signature of a URL: the test's server is not at the public address."""
    parts = urlsplit(data[which])
    return f"{parts.path}?{parts.query}"


def stranger(api: Api) -> httpx.AsyncClient:
    """Make a client that has no key."""
    return httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN)


async def test_a_signed_url_shows_the_image_to_whoever_has_it(api: Api) -> None:
    data = await shown(api)
    assert data["url"].startswith("http://127.0.0.1:8000/v1/jobs/job_")
    async with stranger(api) as client:
        answer = await client.get(signed(data))
    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["content-type"] == "image/jpeg"
    named = f'inline; filename="{urlsplit(signed(data)).path.split("/")[3]}.jpg"'
    assert answer.headers["content-disposition"] == named
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["content-length"] == str(SIZE) == str(data["bytes"])
    assert answer.headers["etag"] == f'"{sha256(PICTURE).hexdigest()}"'
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-request-id"]


async def test_a_signed_url_stays_the_same_and_ends_within_eight_days(api: Api) -> None:
    job = await api.submit()
    await api.life.succeed(job)
    first, second = await api.job(job), await api.job(job)
    assert first["result"] == second["result"]
    result = first["result"]
    assert isinstance(result, dict)
    (exp,) = parse_qs(urlsplit(result["data"][0]["url"]).query)["exp"]
    assert int(exp) % 86_400 == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url[:-1] + ("A" if url[-1] != "A" else "B"),
        lambda url: url.replace("exp=", "exp=1"),
        lambda url: url.replace("/images/0", "/images/1"),
        lambda url: url.replace("/images/0", "/images/0/thumbnail"),
        lambda url: url.replace("/images/0", "/images/00"),
        lambda url: f"{url.partition('?')[0]}?sig={url.rpartition('sig=')[2]}",
        lambda url: url.partition("sig=")[0] + "sig=",
        lambda url: url.partition("sig=")[0] + "sig=é",
    ],
)  # fmt: skip
async def test_a_signed_url_that_was_changed_is_refused(api: Api, change: object) -> None:
    assert callable(change)
    url = change(signed(await shown(api)))
    async with stranger(api) as client:
        problem(await client.get(url), 403, "signature_invalid")


async def test_a_signed_url_of_another_job_does_not_fit(api: Api) -> None:
    one, other = signed(await shown(api)), signed(await shown(api))
    swapped = f"{one.partition('?')[0]}?{other.partition('?')[2]}"
    async with stranger(api) as client:
        problem(await client.get(swapped), 403, "signature_invalid")


async def test_a_signed_url_that_has_expired_is_refused(api: Api) -> None:
    where = signed(await shown(api)).partition("?")[0]
    past = 1_700_000_000
    url = f"{where}?exp={past}&sig={api.state.vault.mac(signed_message(where, past))}"
    async with stranger(api) as client:
        said = problem(await client.get(url), 403, "signature_invalid")
    assert "expired" in str(said["detail"])


async def test_a_key_needs_its_scope_and_its_project(api: Api) -> None:
    where = signed(await shown(api)).partition("?")[0]
    assert (await api.client.get(where)).content == PICTURE
    narrow = await api.key_with("jobs:write")
    problem(await api.client.get(where, headers=narrow), 403, "scope_missing")
    other = await api.another_project()
    problem(await api.client.get(where, headers=other), 404, "not_found")
    async with stranger(api) as client:
        problem(await client.get(where), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, SIZE - 1),
        ("bytes=-100", SIZE - 100, SIZE - 1),
        ("bytes=-999999999", 0, SIZE - 1),
        (f"bytes=10-{SIZE * 2}", 10, SIZE - 1),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE - 1),
    ],
)
async def test_a_part_is_given_as_asked_for(api: Api, wanted: str, first: int, last: int) -> None:
    answer = await api.client.get(signed(await shown(api)), headers={"range": wanted})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer.headers["content-length"] == str(last - first + 1)
    assert answer.content == PICTURE[first : last + 1]


@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", "bytes=999999999-", "bytes=-0"])
async def test_a_part_that_is_not_there_is_416(api: Api, wanted: str) -> None:
    answer = await api.client.get(signed(await shown(api)), headers={"range": wanted})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=0-1,4-5", "bytes=5-3", "bytes=-", "bytes=a-b", "lines=0-1", "bytes 0-1", "",
        f"bytes={'1' * 5000}-", f"bytes=-{'1' * 5000}",
    ],
)  # fmt: skip
async def test_a_range_that_is_none_is_ignored(api: Api, wanted: str) -> None:
    answer = await api.client.get(signed(await shown(api)), headers={"range": wanted})
    assert (answer.status_code, answer.content) == (200, PICTURE)


async def test_a_part_follows_only_what_the_caller_has_already(api: Api) -> None:
    url = signed(await shown(api))
    tag = f'"{sha256(PICTURE).hexdigest()}"'
    part = {"range": "bytes=0-9"}
    assert (await api.client.get(url, headers=part | {"if-range": tag})).status_code == 206
    for other in ('"other"', f"W/{tag}", "Sun, 22 Nov 2026 10:00:00 GMT"):
        answer = await api.client.get(url, headers=part | {"if-range": other})
        assert (answer.status_code, answer.content) == (200, PICTURE), other


@pytest.mark.parametrize("written", ["{}", "W/{}", '"other", {}', "*"])
async def test_who_has_the_image_gets_304(api: Api, written: str) -> None:
    url = signed(await shown(api))
    tag = f'"{sha256(PICTURE).hexdigest()}"'
    answer = await api.client.get(url, headers={"if-none-match": written.format(tag)})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == tag
    changed = await api.client.get(url, headers={"if-none-match": '"other"'})
    assert changed.status_code == 200


async def test_head_tells_of_the_image_without_its_bytes(api: Api) -> None:
    url = signed(await shown(api))
    answer = await api.client.head(url)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["etag"]
    assert answer.headers["content-type"] == "image/jpeg"


async def test_the_thumbnail_is_there_when_it_is_drawn(api: Api) -> None:
    data = await shown(api)
    url = signed(data, "thumbnail_url")
    said = problem(await api.client.get(url), 409, "not_finished")
    assert said["retryable"] is True
    small = b"\xff\xd8\xff a small picture"
    project = str(api.life.caller.project_id)
    await Store(api.life.storage_url).put_thumbnail(project, data["sha256"], small)
    await api.life.alter("UPDATE images SET thumbnail = 'made'")
    async with stranger(api) as client:
        answer = await client.get(url)
    assert (answer.status_code, answer.content) == (200, small)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"].endswith('-thumbnail.jpg"')
    assert answer.headers["etag"] != (await api.client.get(signed(data))).headers["etag"]
    await api.life.alter("UPDATE images SET thumbnail = 'impossible'")
    problem(await api.client.get(url), 404, "not_found")


async def test_an_image_that_is_not_there_yet_is_409_and_one_that_never_comes_404(api: Api) -> None:
    job = await api.submit()
    problem(await api.client.get(path(job, "/images/0")), 409, "not_finished")
    problem(await api.client.get(path(job, "/images/0/thumbnail")), 409, "not_finished")
    problem(await api.client.get(path(job, "/images/1")), 404, "not_found")
    await api.life.fail(job)
    problem(await api.client.get(path(job, "/images/0")), 404, "not_found")


async def test_a_canceled_job_that_came_too_late_shows_its_image(api: Api) -> None:
    job = await api.submit()
    ref = await api.life.start(job)
    await api.client.post(path(job, "/cancel"))
    await api.life.finish(ref)
    assert (await api.client.get(path(job, "/images/0"))).content == PICTURE


async def test_an_image_past_its_retention_is_gone(api: Api) -> None:
    url = signed(await shown(api))
    await api.life.alter("UPDATE images SET expires_at = now() - interval '1 second'")
    problem(await api.client.get(url), 410, "image_expired")


async def test_an_image_that_is_no_longer_in_the_store_is_gone(api: Api) -> None:
    url = signed(await shown(api))
    for blob in api.life.blobs():
        blob.unlink()
    problem(await api.client.get(url), 410, "image_expired")


async def test_a_large_image_comes_whole_and_in_parts(api: Api) -> None:
    picture = b"\xff\xd8\xff" + b"0123456789abcdef" * 200_000 + b"\xff\xd9"
    job = await api.submit()
    await api.life.succeed(job, picture)
    whole = await api.client.get(path(job, "/images/0"))
    assert whole.content == picture
    middle = {"range": "bytes=1000000-2999999"}
    part = await api.client.get(path(job, "/images/0"), headers=middle)
    assert (part.status_code, part.content) == (206, picture[1_000_000:3_000_000])


async def test_the_url_never_outlives_the_image(api: Api) -> None:
    job = await api.submit()
    await api.life.succeed(job)
    await api.life.alter("UPDATE images SET expires_at = now() + interval '1 hour'")
    result = (await api.job(job))["result"]
    assert isinstance(result, dict)
    (exp,) = parse_qs(urlsplit(result["data"][0]["url"]).query)["exp"]
    assert int(exp) <= time.time() + 3600
