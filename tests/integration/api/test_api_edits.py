"""`POST /v1/images/edits`: pictures that come in a form, or named in JSON."""

import asyncio
from typing import Any

import httpx
import pytest

from models.images.references import data_url
from tests.fixtures.drawing import draw
from tests.integration.api import client
from tests.integration.api.client import MODEL, Api, job_id
from tests.integration.api.test_api_generations import ended, queued

URL = "/v1/images/edits"
PICTURE_URL = "https://example.com/a.png"
SAID = {"model": MODEL, "prompt": "The same at night."}


async def edited(api: Api, **how: Any) -> dict[str, Any]:  # noqa: ANN401 - as httpx takes it
    """Send an edit, make its image, and return the job."""
    call = asyncio.create_task(api.client.post(URL, **how))
    (job,) = await queued(api, 1, call)
    await ended(api, api.life.succeed(job), job)
    answer = await call
    assert answer.status_code == 200, answer.text
    assert job_id(answer.json()["data"][0]["job_id"]) == job
    return dict(await api.job(job))


@pytest.mark.parametrize("name", ["image", "image[]"])
async def test_files_of_a_form_are_references_in_order(api: Api, name: str) -> None:
    pictures = [draw(kind, (64, 64)) for kind in ("PNG", "JPEG", "WEBP")]
    files = [(name, ("a.bin", each, "application/octet-stream")) for each in pictures]
    said = SAID | {
        "n": "1", "size": "2048x2048", "quality": "high",
        "darkroom[priority]": "bulk", "darkroom[tags][]": ["a", "b"],
        "darkroom[metadata][order]": "A-17", "darkroom[max_cost]": "182000",
    }  # fmt: skip
    job = await edited(api, data=said, files=files)
    kinds = [str(url).partition(";")[0] for url in job["input"]["image_urls"]]
    assert kinds == ["data:image/png", "data:image/jpeg", "data:image/webp"]
    assert job["input"]["image_size"] == {"width": 2048, "height": 2048}
    assert (job["priority"], job["tags"]) == ("bulk", ["a", "b"])
    assert job["metadata"] == {"order": "A-17"}


async def test_options_may_come_as_json_in_a_form(api: Api) -> None:
    files = {"image": ("a.png", draw("PNG", (64, 64)), "image/png")}
    job = await edited(api, data=SAID | {"darkroom": '{"tags": ["x"]}'}, files=files)
    assert job["tags"] == ["x"]


@pytest.mark.parametrize(
    "named",
    [
        {"image_urls": [PICTURE_URL]},
        {"images": [{"image_url": PICTURE_URL}]},
        {"image": PICTURE_URL},
        {"image_url": PICTURE_URL},
    ],
    ids=str,
)
async def test_json_names_them_by_url(api: Api, named: dict[str, object]) -> None:
    job = await edited(api, json=SAID | named)
    assert job["input"]["image_urls"] == [PICTURE_URL]


async def test_an_inline_picture_of_any_name_is_let_go_while_its_sender_waits(api: Api) -> None:
    url = data_url("image/png", draw("PNG", (64, 64)))
    job = await edited(api, json=SAID | {"images": [{"image_url": url}], "seed": 1})
    (shown,) = job["input"]["image_urls"]
    assert shown.startswith("data:image/png;sha256=")


async def test_a_form_has_room_for_what_pictures_weigh_and_no_more(api: Api) -> None:
    large = draw("PNG", (1700, 1700))  # about 8 MB, of noise
    assert len(large) > 2**22
    job = await edited(api, data=SAID, files=[("image[]", ("a.png", large))] * 2)
    assert len(job["input"]["image_urls"]) == 2
    too_large = ("image", ("a.png", large[:16] + bytes(10 * 2**20)))
    answer = await api.client.post(URL, data=SAID, files=[too_large])
    assert "10,485,760" in str(client.problem(answer, 400, "invalid_request"))


async def test_a_repetition_of_a_form_joins_although_its_boundary_is_another(api: Api) -> None:
    files = {"image": ("a.png", draw("PNG", (64, 64)), "image/png")}
    first = asyncio.create_task(api.client.post(URL, data=SAID, files=files))
    (job,) = await queued(api, 1, first)
    first.cancel()
    again = asyncio.create_task(
        api.client.post(URL, data=SAID, files=files, headers={"x-stainless-retry-count": "1"})
    )
    await ended(api, api.life.succeed(job), job)
    answer = await again
    assert job_id(answer.json()["data"][0]["job_id"]) == job
    assert await api.life.count("jobs") == 1


async def test_a_stream_of_an_edit_ends_with_an_event_of_its_own(api: Api) -> None:
    files = {"image": ("a.png", draw("PNG", (64, 64)), "image/png")}
    async with api.client.stream("POST", URL, data=SAID | {"stream": "true"}, files=files) as got:
        (job,) = await queued(api)
        await ended(api, api.life.succeed(job), job)
        lines = [line async for line in got.aiter_lines() if line.startswith("event:")]
    assert lines == ["event: image_edit.completed"]


async def test_what_a_form_cannot_mean_is_refused_by_its_name(api: Api) -> None:
    picture = ("a.png", draw("PNG", (64, 64)), "image/png")
    cases: list[tuple[str, dict[str, Any]]] = [
        ("image", {"data": SAID, "files": {"x": ("", b"")}}),
        ("image", {"data": SAID, "files": {"image": ("a.txt", b"text", "text/plain")}}),
        ("image", {"data": SAID, "files": [("image[]", picture)] * 15}),
        ("mask", {"data": SAID, "files": {"image": picture, "mask": picture}}),
        ("n", {"data": SAID | {"n": "many"}, "files": {"image": picture}}),
        ("prompt", {"data": SAID | {"prompt": ["a", "b"]}, "files": {"image": picture}}),
        ("darkroom", {"data": SAID | {"darkroom[priority]": "now"}, "files": {"image": picture}}),
        ("image_urls", {"json": SAID}),
    ]
    told = [
        (client.problem(answer, 400, "invalid_request")["error"], named)
        for named, how in cases
        for answer in [await api.client.post(URL, **how)]
    ]
    assert [error["param"] for error, _ in told] == [named for _, named in told]  # type: ignore[index]
    assert await api.life.count("jobs") == 0


PART = ("a.png", draw("PNG", (64, 64)), "image/png")


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ([("prompt", ("prompt.txt", b"A fox"))], "/prompt"),
        ([("user", ("user.txt", b"anna"))], "/user"),
        ([("mask", PART)], "/mask"),
        ([("darkroom[metadata][order]", ("a.txt", b"A-17"))], "/darkroom/metadata/order"),
        ([("seed", "1"), ("seed", "2")], "/seed"),
        ([("user", ""), ("user", "anna")], "/user"),
        ([("darkroom[max_cost]", "91000"), ("darkroom[max_cost]", "1")], "/darkroom/max_cost"),
        ([("darkroom", '{"customer": "a"}'), ("darkroom[customer]", "b")], "/darkroom"),
        ([("darkroom[customer]", "b"), ("darkroom", '{"customer": "a"}')], "/darkroom"),
        ([("darkroom", '{"tags": ["a"]}'), ("darkroom[tags][]", "b")], "/darkroom"),
        ([("darkroom[tags]", "a"), ("darkroom[tags][]", "b")], "/darkroom/tags"),
        ([("darkroom[tags][]", "a"), ("darkroom[tags]", "b")], "/darkroom/tags"),
        ([("darkroom[webhook]", "a"), ("darkroom[webhook][url]", "b")], "/darkroom/webhook"),
        ([("image_size[width]", "2048"), ("image_size[width]", "64")], "/image_size/width"),
        ([("darkroom", "{")], "/darkroom"),
        ([("image", ("b.png", b"\x89PNG"))], "/image/1"),
    ],
    ids=str,
)
async def test_no_field_of_a_form_is_lost(
    api: Api, said: list[tuple[str, Any]], named: str
) -> None:
    plain = [] if said[0][0] == "prompt" else [("prompt", (None, "A fox"))]
    parts = [(name, (None, each) if isinstance(each, str) else each) for name, each in said]
    files: list[tuple[str, Any]] = [("model", (None, MODEL)), ("image", PART), *plain, *parts]
    answer = await api.client.post(URL, files=files)
    refused = client.problem(answer, 400, "invalid_request")
    assert client.pointers(answer) == [named]
    assert "data: URL" not in str(refused), "nobody sent one"
    assert await api.life.count("jobs") == 0


async def test_every_field_of_a_form_that_is_wrong_is_named(api: Api) -> None:
    files = [
        ("prompt", ("p.txt", b"A fox")),
        ("image", ("a.png", b"x")),
        ("image", ("b.png", b"y")),
    ]
    answer = await api.client.post(URL, files=files)
    client.problem(answer, 400, "invalid_request")
    assert client.pointers(answer) == ["/prompt", "/image/0", "/image/1"]


async def test_text_of_a_form_is_utf_8_or_refused(api: Api) -> None:
    def form(name: bytes, text: bytes) -> bytes:
        said = [(b"model", MODEL.encode()), (b"prompt", b"A fox"), (name, text)]
        head = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        return b"".join(head % each for each in said) + b"--x--\r\n"

    sent = [
        (form(b"user", b"\xff\xfe"), "", (400, "malformed_form")),
        (form(b"darkroom[metadata][\xff]", b"a"), "", (400, "malformed_form")),
        (form(b"user", b"a"), "; charset=latin-1", (415, "unsupported_media_type")),
        (form(b"darkroom[tags][]", "ä".encode()), "; charset=utf-8", (400, "invalid_request")),
    ]
    for content, charset, (status, code) in sent:
        headers = {"content-type": f"multipart/form-data; boundary=x{charset}"}
        answer = await api.client.post(URL, content=content, headers=headers)
        client.problem(answer, status, code)
    assert answer.json()["error"]["param"] == "image", "all of the last form was read"


async def test_a_form_of_too_many_parts_or_an_endless_name_says_that_it_is_a_form(api: Api) -> None:
    for files in ([("image[]", PART)] * 17, [("image", ("a" * 5000, b"x"))]):
        answer = await api.client.post(URL, data=SAID, files=files)
        refused = client.problem(answer, 400, "malformed_form")
        assert "JSON" not in f"{refused['title']} {refused['detail']}"


async def test_a_client_of_openai_s_shape_is_told_each_field_and_what_to_do(api: Api) -> None:
    picture = {"image_urls": [PICTURE_URL]}
    for wrong in ({"colour": "red", "n": 0}, {"prompt": "", "seed": "x"}):
        answer = await api.client.post(URL, json=SAID | picture | wrong)
        refused = client.problem(answer, 400, "invalid_request")
        told = [f"{each['pointer'][1:]}: {each['message']}" for each in answer.json()["errors"]]
        assert [each.partition(":")[0] for each in sorted(told)] == sorted(wrong)
        assert refused["error"]["message"] == "\n".join(told)  # type: ignore[index]


@pytest.mark.parametrize("route", [URL, "/v1/files"])
async def test_a_picture_by_itself_is_told_to_come_in_a_form(api: Api, route: str) -> None:
    answer = await api.client.post(route, content=PART[1], headers={"content-type": "image/png"})
    refused = client.problem(answer, 415, "unsupported_media_type")
    assert '"image/png"' in str(refused["detail"])
    assert "multipart/form-data" in str(refused["detail"])


async def test_a_form_that_is_none_is_refused(api: Api) -> None:
    for type_ in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = await api.client.post(URL, content=b"x", headers={"content-type": type_})
        assert client.problem(answer, 400, "malformed_form")["error"]
    answer = await api.client.post(
        "/v1/images/generations", data=SAID, files={"image": ("a.png", b"x")}
    )
    client.problem(answer, 415, "unsupported_media_type")


async def test_who_goes_away_in_the_middle_of_a_form_leaves_nothing(api: Api) -> None:
    host, port = httpx.URL(api.url).host, httpx.URL(api.url).port
    request = api.client.build_request(
        "POST", URL, data=SAID, files={"image": ("a.png", draw("PNG", (256, 256)), "image/png")}
    )
    _, writer = await asyncio.open_connection(host, port)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    body = request.read()
    writer.write(f"POST {URL} HTTP/1.1\r\n{head}\r\n".encode() + body[: len(body) // 2])
    await writer.drain()
    writer.transport.abort()
    answer = await api.client.post(URL, json=SAID)  # the same process goes on
    client.problem(answer, 400, "invalid_request")
    assert await api.life.count("jobs") == 0
