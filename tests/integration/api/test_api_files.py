"""`/v1/files`: pictures that are kept by name, judged like references, and gone when they have to be."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from models import ids
from models.images.storage import Store
from tests.fixtures.drawing import BROKEN, ODD, draw, png_claiming
from tests.integration.api.client import Api, Body, body, input_, job_id, path, pointers, problem
from tests.integration.api.test_api_erasures import dispatcher, erased, sweep
from tests.integration.api.test_api_generations import ended, queued
from worker.dispatcher.duties import retaining

URL = "/v1/files"
PNG = draw("png", (64, 48))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def form(data: bytes = PNG, name: str = "mug.png", **said: str) -> dict[str, Any]:
    return {"files": {"file": (name, data)}, "data": said}


async def kept(api: Api, data: bytes = PNG, **said: str) -> Body:
    """Upload a picture; returns its file."""
    answer = await api.client.post(URL, **form(data, **said))
    assert answer.status_code in {200, 201}, answer.text
    shown: Body = answer.json()
    return shown


def asking(file: Body, **fields: object) -> dict[str, object]:
    return body(input=input_(image_urls=[file["id"]]), **fields)


async def alter(api: Api, values: str) -> None:
    await api.life.alter(f"UPDATE files SET {values}")  # noqa: S608 - a test's


async def test_a_file_is_kept_shown_sent_and_deleted(api: Api) -> None:
    made = await api.client.post(URL, **form(purpose="vision"))
    shown = made.json()
    assert (made.status_code, made.headers["location"]) == (201, f"{URL}/{shown['id']}")
    assert (shown["bytes"], shown["width"], shown["height"]) == (len(PNG), 64, 48)
    assert (shown["content_type"], shown["filename"]) == ("image/png", "mug.png")
    assert shown["expires_at"] - shown["created_at"] == 30 * 24 * 3600
    here = f"{URL}/{shown['id']}"
    assert (await api.client.get(here)).json() == shown
    bytes_ = await api.client.get(f"{here}/content")
    assert (bytes_.content, bytes_.headers["content-type"]) == (PNG, "image/png")
    part = await api.client.get(f"{here}/content", headers={"range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, PNG[1:4])
    gone = await api.client.delete(here)
    assert gone.json() == {"id": shown["id"], "object": "file", "deleted": True}
    for again in (api.client.get(here), api.client.get(f"{here}/content"), api.client.delete(here)):
        problem(await again, 404, "not_found")
    logged = (await api.client.get("/v1/audit")).json()["data"][0]
    assert (logged["action"], logged["subject"]) == ("file.deleted", shown["id"])
    await sweep(api)
    assert api.life.blobs() == []


async def test_the_same_bytes_are_one_file_of_each_customer_and_project(api: Api) -> None:
    first = await kept(api)
    await alter(api, "expires_at = now() + interval '1 day'")
    again = await api.client.post(URL, **form(name="other.png"))
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert again.json()["expires_at"] >= first["expires_at"], "it is kept as if it were new"
    anna = await kept(api, customer="anna")
    assert (anna["customer"], (await kept(api, customer="anna"))["id"]) == ("anna", anna["id"])
    theirs = await api.client.post(URL, **form(), headers=await api.another_project())
    assert len({first["id"], anna["id"], theirs.json()["id"]}) == 3
    assert len(api.life.blobs()) == 2, "a blob of each project"
    page = (await api.client.get(URL, params={"limit": 1})).json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([anna["id"]], True)
    for way, place in (("cursor", page["next_cursor"]), ("after", str(anna["id"]))):
        rest = (await api.client.get(URL, params={way: place})).json()
        assert [each["id"] for each in rest["data"]] == [first["id"]]
        assert (rest["has_more"], rest["next_cursor"]) == (False, None)


@pytest.mark.parametrize(
    ("sent", "pointer", "says"),
    [
        (form(SVG, "a.png"), "/file", "the bytes are no image; send png, jpeg"),
        (form(b"<html>" + PNG), "/file", "no image"),
        (form(b""), "/file", "no image"),
        (form(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), "/file", "is HEIC"),
        (form(png_claiming(20_000, 20_000)), "/file", "scale it down to 6000x6000"),
        (form(draw("png", (15, 600))), "/file", "shapes from 1:16 to 16:1"),
        (form(PNG + bytes(10 * 1024 * 1024)), "/file", "takes at most 10,485,760"),
        (form(next(iter(BROKEN.values()))()), "/file", "send the whole file"),
        ({"files": {"file": (None, "text")}}, "/file", "it is text"),
        ({"files": [("file", ("a", PNG)), ("file", ("b", PNG))]}, "/file", "there are 2 files"),
        ({"files": {"other": ("a.png", PNG)}}, "/other", "send one text"),
        (form(color="red"), "/color", "there is no such field"),
        (form(customer="Anna Karenina"), "/customer", "Anna Karenina"),
    ],
)
async def test_what_cannot_be_kept_is_refused_and_leaves_nothing(
    api: Api, sent: dict[str, Any], pointer: str, says: str
) -> None:
    answer = await api.client.post(URL, **sent)
    said = problem(answer, 400, "invalid_request")
    assert pointers(answer) == [pointer]
    assert says in str(said["errors"])
    assert await api.life.count("files") == await api.life.count("remnants") == 0
    assert api.life.blobs() == []


async def test_a_picture_with_metadata_is_kept_to_the_byte_and_harmless(api: Api) -> None:
    for data in (ODD["png: an eXIf of nonsense"](), draw("jpeg") + b"<script>alert(1)</script>"):
        file = await kept(api, data, name="../évil\u202e.html")
        assert file["filename"] == "../évil.html"
        sent = await api.client.get(f"{URL}/{file['id']}/content")
        assert sent.content == data
        assert sent.headers["content-type"] == file["content_type"] != "text/html"
        assert sent.headers["x-content-type-options"] == "nosniff"
        assert sent.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert str(file["id"]) in sent.headers["content-disposition"]


async def test_what_is_no_form_is_refused(api: Api) -> None:
    problem(await api.client.post(URL, content=PNG), 415, "unsupported_media_type")
    problem(await api.client.post(URL), 400, "invalid_request")


async def test_a_job_draws_from_a_file_and_outlives_it(api: Api) -> None:
    file = await kept(api)
    await alter(api, "expires_at = now() + interval '1 day'")
    made = await api.client.post("/v1/jobs", json=asking(file))
    assert made.status_code == 202, made.text
    told = f"data:image/png;sha256={file['sha256']};length={file['bytes']}"
    assert made.json()["input"]["image_urls"] == [told]
    used = (await api.client.get(f"{URL}/{file['id']}")).json()
    assert used["expires_at"] >= file["expires_at"], "it was used, so it is kept for longer"
    await api.client.delete(f"{URL}/{file['id']}")
    await sweep(api)
    job = job_id(made.json()["id"])
    assert (await api.client.get(path(job, "/references/0"))).content == PNG
    problem(await api.client.post("/v1/jobs", json=asking(file)), 422, "invalid_request")
    await api.life.expire(job)
    assert (await api.client.delete(path(job))).status_code == 204
    await sweep(api)
    assert api.life.blobs() == []


async def test_a_file_is_edited_by_its_name_as_openai_has_it(api: Api) -> None:
    file = await kept(api)
    said = {"model": "gpt-image-1", "prompt": "The same at night."}
    for how in (
        {"json": said | {"images": [{"file_id": file["id"]}]}},
        {"data": said, "files": {"image[]": (None, file["id"])}},
    ):
        call = asyncio.create_task(api.client.post("/v1/images/edits", **how))
        (job,) = await queued(api, 1, call)
        await ended(api, api.life.succeed(job), job)
        assert (await call).status_code == 200
        assert str(file["sha256"]) in str(await api.job(job))


@pytest.mark.parametrize("kind", ["nobody's", "another project's", "expired"])
async def test_what_is_no_file_of_ours_draws_nothing(api: Api, kind: str) -> None:
    file: Body = {"id": ids.text(ids.FILE, ids.new())}
    headers: dict[str, str] = {}
    if kind != "nobody's":
        file = await kept(api)
    if kind == "another project's":
        headers = await api.another_project()
    if kind == "expired":
        await alter(api, "expires_at = now()")
        problem(await api.client.get(f"{URL}/{file['id']}"), 404, "not_found")
    answer = await api.client.post("/v1/jobs", json=asking(file), headers=headers)
    said = problem(answer, 422, "invalid_request")
    assert f'"{file["id"]}" is not a file of this project' in str(said["detail"])
    assert pointers(answer) == ["/input/image_urls/0"]


async def test_a_project_keeps_so_many_files_and_bytes(api: Api) -> None:
    usual = api.state.settings
    first = await kept(api)
    other, theirs = draw("png", (65, 48)), await api.another_project()
    try:
        for bound in ({"files_max": 1}, {"files_max_bytes": len(PNG) + len(other) - 1}):
            api.state.settings = usual.model_copy(update=bound)
            problem(await api.client.post(URL, **form(other)), 409, "limit_reached")
            assert (await kept(api))["id"] == first["id"], "what is there needs no room"
            there = await api.client.post(URL, **form(), headers=theirs)
            assert there.status_code in {200, 201}
    finally:
        api.state.settings = usual
    assert (await kept(api, other))["width"] == 65


async def test_uploads_and_deletions_at_once_leave_no_file_without_bytes(api: Api) -> None:
    here = f"{URL}/{(await kept(api))['id']}"
    for _ in range(3):
        answers = await asyncio.gather(
            *(api.client.post(URL, **form()) for _ in range(6)),
            *(api.client.delete(here) for _ in range(3)),
            sweep(api),
        )
        assert {each.status_code for each in answers if each} <= {200, 201, 404, 503}
        await sweep(api)
        listed = (await api.client.get(URL)).json()["data"]
        assert len(listed) <= 1, "the same bytes are one file"
        for file in listed:
            here = f"{URL}/{file['id']}"
            assert (await api.client.get(f"{here}/content")).content == PNG
        assert len(api.life.blobs()) == len(listed)


async def test_an_upload_that_dies_behind_its_bytes_leaves_them_to_be_collected(api: Api) -> None:
    """Its last transaction waits for the project's row, and its session is ended there."""
    async with api.life.database.transaction() as tx:
        await tx.execute(text("SELECT FROM projects FOR UPDATE"))
        upload = asyncio.create_task(api.client.post(URL, **form()))
        waits = text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
        while not (await tx.execute(waits)).all():  # noqa: ASYNC110 - Postgres has no event for it
            await asyncio.sleep(0.01)
    problem(await upload, 503, "unavailable")
    assert len(api.life.blobs()) == 1
    assert await api.life.count("files") == 0
    await sweep(api)
    assert api.life.blobs() == []


async def test_a_customer_is_forgotten_with_its_files(api: Api) -> None:
    other = draw("png", (65, 48))
    shared, anna = await kept(api), await kept(api, customer="anna")
    await kept(api, other, customer="anna")
    made = await erased(api, customer="anna")
    assert isinstance(made["removed"], dict)
    assert made["removed"]["files"] == 2
    problem(await api.client.get(f"{URL}/{anna['id']}"), 404, "not_found")
    left = (await api.client.get(URL)).json()["data"]
    assert left == [shared]
    assert [each.read_bytes() for each in api.life.blobs()] == [PNG], (
        "which are somebody else's too"
    )


async def test_a_file_that_nobody_uses_goes_by_itself(api: Api) -> None:
    await kept(api)
    used = await kept(api, draw("png", (65, 48)))
    await alter(api, "expires_at = now() WHERE width = 64")
    store = Store(api.life.storage_url)
    while await retaining.run(dispatcher(api), store):
        pass
    await sweep(api)
    assert (await api.client.get(URL)).json()["data"] == [used]
    assert len(api.life.blobs()) == 1
