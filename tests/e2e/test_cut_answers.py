"""Answers that are cut off in the middle, and clients that repeat their calls by themselves."""

import asyncio
import base64
from hashlib import sha256
from itertools import cycle

import httpx
import openai
import pytest

from tests.conftest import PLAIN
from tests.e2e import cutting, witnesses
from tests.e2e.cutting import Cut, header
from tests.e2e.stage import MODEL, Stage

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

CALLS, AT_ONCE = 100, 25
UNCOUNTED = 10
_WAYS: tuple[Cut, ...] = ("seen", "unseen")


async def test_a_hundred_answers_that_are_cut_off_are_paid_once_and_given_again(
    stage: Stage,
) -> None:
    """One and the same body, a hundred times: nobody gets another one's picture."""
    paid, ways = len(stage.calls()), cycle(_WAYS)
    darkroom = {"darkroom": {"webhook": {"url": stage.receiver.url}}}

    def cut(head: bytes) -> Cut:
        return next(ways) if header(head, "x-stainless-retry-count") == "0" else ""

    async with (
        cutting.before(str(stage.client.base_url), cut) as standing,
        openai.AsyncOpenAI(base_url=f"{standing.url}/v1", api_key=stage.key) as client,
    ):
        places = asyncio.Semaphore(AT_ONCE)

        async def call() -> tuple[str, str]:
            async with places:
                made = await client.images.generate(
                    model="gpt-image-1", prompt="one of many", extra_body=darkroom
                )
            assert made.data is not None
            return made.data[0].b64_json or "", str((made.data[0].model_extra or {})["job_id"])

        found = await asyncio.gather(*(call() for _ in range(CALLS)))
    pictures = {sha256(base64.b64decode(each, validate=True)).digest() for each, _ in found}
    jobs = {job for _, job in found}
    assert (len(pictures), len(jobs), standing.times) == (CALLS, CALLS, CALLS)
    assert len(stage.calls()) - paid == CALLS
    stage.accepted += jobs
    await asyncio.to_thread(witnesses.check, stage)


async def test_who_does_not_count_pays_once_where_the_loss_is_seen(stage: Stage) -> None:
    """As n8n and the AI SDK do: the same again, after a second."""
    paid, lost = len(stage.calls()), set[str]()

    def cut(head: bytes) -> Cut:
        number = header(head, "x-number")
        first = number not in lost
        lost.add(number)
        return "seen" if first else ""

    async with (
        cutting.before(str(stage.client.base_url), cut) as standing,
        httpx.AsyncClient(
            base_url=standing.url, timeout=30, trust_env=False, verify=PLAIN,
            headers={"authorization": f"Bearer {stage.key}"},
        ) as client,
    ):  # fmt: skip
        jobs = await asyncio.gather(
            *(_insisting(client, number, stage.receiver.url) for number in range(UNCOUNTED))
        )
    assert (len(set(jobs)), standing.times) == (UNCOUNTED, UNCOUNTED)
    assert len(stage.calls()) - paid == UNCOUNTED
    stage.accepted += jobs


async def _insisting(client: httpx.AsyncClient, number: int, hook: str) -> str:
    body = {
        "model": MODEL, "prompt": f"a bicycle, {number}", "response_format": "b64_json",
        "darkroom": {"webhook": {"url": hook}},
    }  # fmt: skip
    while True:
        try:
            answer = await client.post(
                "/v1/images/generations", json=body, headers={"x-number": str(number)}
            )
        except httpx.RemoteProtocolError:
            await asyncio.sleep(1)
            continue
        return str(answer.json()["data"][0]["job_id"])
