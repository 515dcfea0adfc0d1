"""References inside of a submission: looked at before the 202, by nobody who has anything to lose."""

import asyncio
import gc
import os
import signal
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import process_time
from uuid import UUID, uuid4
from zlib import compress, decompress

import httpx
import pytest
from pydantic import SecretStr

from models.errors import TooMany
from models.images.references import sniff, urls_of
from models.jobs import Start
from models.platform.places import Places
from tests.conftest import PLAIN
from tests.fixtures.decoders import DECODERS
from tests.fixtures.drawing import BROKEN, ODD, chunk, draw, png_claiming, png_with
from tests.integration.api.client import Api, body, input_, pointers, problem
from worker import referring
from worker.runtime.context import open_context

LINK = "https://example.com/a.png"
PACKED = compress(bytes(1024 * 1024), 9)  # a kilobyte
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


def inline(data: bytes) -> str:
    return f"data:{sniff(data) or 'image/png'};base64,{b64encode(data).decode()}"


def asking(*urls: str) -> dict[str, object]:
    return body(input=input_(image_urls=list(urls)))


@pytest.mark.parametrize("name", ODD)
async def test_a_picture_is_taken_whatever_its_metadata_is(api: Api, name: str) -> None:
    answer = await api.client.post("/v1/jobs", json=asking(inline(ODD[name]())))
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_whole_picture_is_refused_before_the_202(api: Api, name: str) -> None:
    data = BROKEN[name]()
    answer = await api.client.post("/v1/jobs", json=asking(LINK, inline(data)))
    said = problem(answer, 422, "invalid_request")
    assert pointers(answer) == ["/input/image_urls/1"]
    assert "send the whole file" in str(said["detail"])
    assert await api.life.count("jobs") == 0
    assert api.life.blobs() == []


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (draw("png", (15, 600)), "is 15x600; the provider takes shapes from 1:16 to 16:1"),
        (draw("jpeg", (600, 15)), "is 600x15"),
        (draw("webp", (14, 14)), "is 14x14; the provider needs each side over 14 pixels"),
        (png_claiming(6_001, 6_000), "is 6001x6000, 36,006,000 pixels"),
        (png_claiming(20_000, 20_000), "takes 36,000,000 at most; scale it down to 6000x6000"),
        (png_claiming(2**31 - 1, 2**31 - 1), "scale it down to 6000x6000 or less"),
        (png_claiming(30_000, 30_000), "pixels"),
        (HEIC, "is HEIC, which cannot be sent inside a request; save it as JPEG"),
    ],
)
async def test_what_upstream_would_refuse_is_refused_here(api: Api, data: bytes, says: str) -> None:
    answer = await api.client.post("/v1/jobs", json=asking(inline(data)))
    assert says in str(problem(answer, 422, "invalid_request")["detail"])
    assert pointers(answer) == ["/input/image_urls/0"]


@pytest.mark.parametrize("size", [(15, 240), (240, 15), (15, 15)])
async def test_the_limits_of_upstream_are_taken(api: Api, size: tuple[int, int]) -> None:
    answer = await api.client.post("/v1/jobs", json=asking(inline(draw("png", size))))
    assert answer.status_code == 202


async def test_each_reference_that_is_wrong_is_named(api: Api) -> None:
    urls = [inline(each) for each in (draw("png", (15, 600)), draw("png"), draw("jpeg")[:-100])]
    answer = await api.client.post("/v1/jobs", json=asking(*urls))
    assert problem(answer, 422, "invalid_request")["detail"] == "2 things are wrong with the input."
    assert pointers(answer) == ["/input/image_urls/0", "/input/image_urls/2"]


async def test_a_quote_judges_references_as_a_submission_does(api: Api) -> None:
    answer = await api.client.post("/v1/quotes", json=asking(inline(draw("png", (15, 600)))))
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == ["/input/image_urls/0"]


async def test_references_beyond_what_a_call_carries_are_fetched_from_us(api: Api) -> None:
    pictures = draw("png"), draw("png", (32, 32))
    large, small = map(inline, pictures)
    job = await api.submit(input=input_(image_urls=[large, LINK, small]))
    ref, stored = await api.life.start(job), (await api.job(job))["input"]
    assert isinstance(stored, dict)
    start = Start(ref, "call", api.life.caller.project_id, stored, False, "x", None)  # noqa: FBT003

    async def sent(most: int, provider: str = api.url) -> list[str]:
        bounds = {"inline_max_bytes": most, "public_url": f"{api.url}/below"}
        whose = {"aimlapi_base_url": provider, "aimlapi_key": SecretStr("k")}
        settings = api.state.settings.model_copy(update={**bounds, **whose})
        async with open_context(settings, "w1", pictures=DECODERS) as context:
            return urls_of(await referring.body(context, start))

    assert await sent(sum(map(len, pictures))) == [large, LINK, small]
    assert await sent(0, "https://api.aimlapi.com") == [large, LINK, small], (
        "which reaches nobody here"
    )
    link, *rest = await sent(sum(map(len, pictures)) - 1)
    assert rest == [LINK, small]
    assert link.startswith(f"{api.url}/below/v1/jobs/")
    where = link.replace("/below", "")
    async with httpx.AsyncClient(trust_env=False, verify=PLAIN) as nobody:
        assert (await nobody.get(where)).content == pictures[0]
        changed = where.replace("/references/0", "/references/2")
        problem(await nobody.get(changed), 403, "signature_invalid")
        problem(await nobody.get(where.partition("?")[0]), 401, "unauthenticated")


@pytest.fixture(scope="module")
def decoding() -> None:
    """The API has children of its own here: they are stopped and killed."""


def decoders() -> set[int]:
    """Find the decoding children of this process, which serves the API."""
    found = set()
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = (each / "stat").read_bytes().rpartition(b")")[2].split()[1]
            if (
                int(parent) == os.getpid()
                and b"models.images.decoding" in (each / "cmdline").read_bytes()
            ):
                found.add(int(each.name))
        except OSError:  # it has ended since it was listed
            continue
    return found - DECODERS.pids


@contextmanager
def stopped(*processes: int) -> Iterator[None]:
    """Let processes stand still for a while, so that whatever needs them waits."""
    for each in processes:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in processes:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


async def test_pictures_are_decoded_by_other_processes_and_nothing_else_waits(api: Api) -> None:
    with stopped(*decoders()):
        waiting = asyncio.create_task(api.client.post("/v1/jobs", json=asking(inline(draw("png")))))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done, "no other process can have decoded it"
        await api.submit()
    assert (await waiting).status_code == 202


async def test_the_pile_of_one_project_is_in_nobody_elses_way(api: Api) -> None:
    slow = asking(inline(png_with(chunk(b"tEXt", b"") * 100_000)))  # some tenths of a second each
    other = await api.another_project()
    # A decoder starts with the first picture that finds none free, which takes longer than a slow one.
    await asyncio.gather(
        *(api.client.post("/v1/jobs", json=slow, headers=who) for who in ({}, other))
    )
    pile = [asyncio.create_task(api.client.post("/v1/jobs", json=slow)) for _ in range(6)]
    await asyncio.wait(pile, return_when=asyncio.FIRST_COMPLETED)
    quick = await api.client.post("/v1/jobs", json=asking(inline(draw("png"))), headers=other)
    assert quick.status_code == 202
    assert not all(each.done() for each in pile), "it came past those who were there before"
    assert {(await each).status_code for each in pile} == {202}


async def test_hostile_pictures_cost_this_process_nothing(api: Api) -> None:
    began = process_time()
    for _ in range(8 * 48):
        decompress(PACKED)
    inflated = process_time() - began
    texts = chunk(b"tEXt", b"k\0" + PACKED.hex().encode()[: len(PACKED)]) * 48
    await _cost(api, texts)  # the first of a process compile their statements
    harmless = await _cost(api, texts)
    hostile = await _cost(api, chunk(b"zTXt", b"k\0\0" + PACKED) * 48)  # of a MiB each
    assert hostile - harmless < inflated / 2, "nothing was inflated here"


async def _cost(api: Api, texts: bytes) -> float:
    """Return the seconds of CPU that eight pictures with these texts cost, sent at once."""
    sent = [asking(inline(png_with(texts, chunk(b"tEXt", b"%d\0" % n)))) for n in range(8)]
    gc.collect()
    gc.disable()  # a collection of all that this process holds would take longer than the pictures
    try:
        began = process_time()
        answers = await asyncio.gather(*(api.client.post("/v1/jobs", json=each) for each in sent))
        cost = process_time() - began
    finally:
        gc.enable()
    assert [each.json()["detail"] for each in answers if each.status_code != 202] == []
    return cost


async def test_a_decoder_that_dies_is_our_fault_and_replaced(api: Api) -> None:
    before = decoders()
    with stopped(*before):
        waiting = asyncio.create_task(api.client.post("/v1/jobs", json=asking(inline(draw("png")))))
        await asyncio.wait([waiting], timeout=0.3)
        for each in before:
            os.kill(each, signal.SIGKILL)
        answer = await waiting
    said = problem(answer, 503, "unavailable")
    assert said["retryable"]
    assert int(answer.headers["retry-after"]) > 0
    again = await api.client.post("/v1/jobs", json=asking(inline(draw("png"))))
    assert again.status_code == 202
    assert not decoders() & before


async def test_a_line_that_is_full_or_does_not_move_says_when_to_come_again() -> None:
    places, one, two = Places(2, share=1, line=1, crowded="full"), uuid4(), uuid4()
    async with places.take(one, 5):
        waiting = asyncio.create_task(_held(places, one))
        await asyncio.sleep(0)
        with pytest.raises(TooMany):
            await _held(places, one)
        await _held(places, two)
        waiting.cancel()
        await asyncio.wait([waiting])
        with pytest.raises(TooMany):
            async with places.take(one, 0.01):
                raise AssertionError
    await _held(places, one)


async def test_lines_are_served_in_turn() -> None:
    places, served = Places(1, share=1, line=9, crowded="full"), list[str]()
    owners = {"a": uuid4(), "b": uuid4(), "c": uuid4()}

    async def ask(name: str) -> None:
        async with places.take(owners[name], 5):
            served.append(name)
            await asyncio.sleep(0)

    async with places.take(owners["a"], 5):
        asked = [asyncio.create_task(ask(name)) for name in "aaabbc"]
        await asyncio.sleep(0)
    await asyncio.gather(*asked)
    assert "".join(served) == "abcaba"


async def _held(places: Places, owner: UUID) -> None:
    async with places.take(owner, 5):
        pass
