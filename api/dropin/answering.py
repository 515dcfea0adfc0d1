"""The answer to a synchronous call, in the shape that the provider's and OpenAI's clients read.

Base 64 goes from the store to the socket piece by piece, and every answer tells its length: one that was
cut off is seen to be.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from fastapi import Request
from pydantic_core import to_json
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from api.dependencies.state import State
from api.dropin import outcomes, pictures
from api.dropin.pictures import Picture
from api.dropin.reading import Asked
from api.edge.connections.receipts import Receipts
from api.sharing.calls import Calls
from models.jobs import Snapshot
from models.jobs.submission.calls import Claim

Part = bytes | Picture


@dataclass(slots=True)
class Fate:
    """What became of a call while its answer was sent.

    `repeated`: a client sends such a request again; `failed`: its job has failed for good.
    """

    repeated: bool = False
    failed: bool = False


class Delivered(StreamingResponse):
    """An answer that notes, for its call, whether all of it was sent and its client has read it."""

    def __init__(
        self,
        content: AsyncIterator[bytes],
        headers: dict[str, str],
        media_type: str,
        calls: Calls,
        claim: Claim | None,
        fate: Fate | None = None,
    ) -> None:
        super().__init__(content, headers=headers, media_type=media_type)
        self._calls = calls
        self._claim = claim
        self._fate = fate or Fate()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        answered = False
        request = Request(scope, receive)
        receipts: Receipts | None = (
            getattr(request.state, "receipts", None) if self._claim else None
        )

        async def watched(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered = not await request.is_disconnected()
                if receipts is not None:
                    receipts.expect()
            await send(message)

        with self._calls.held(self._claim):
            try:
                await super().__call__(scope, receive, watched)
            finally:
                answered = answered and not self._fate.repeated
                self._calls.note(self._claim, answered=answered, failed=self._fate.failed)
                if answered and receipts is not None:
                    receipts.sent(lambda: self._calls.note(self._claim, answered=False))


async def answer(
    here: State,
    asked: Asked,
    found: Sequence[Snapshot],
    headers: dict[str, str],
    claim: Claim | None,
) -> Delivered:
    """Write the images of these jobs; one without an image is left out. Raises as `pictures.opened`."""
    made = [each for each in found if each.image is not None]
    failed = [outcomes.told(each) for each in found if each.image is None]
    parts = list(_list_of([await _item(here, asked, each) for each in made]))
    created = max(each.job.finished_at or each.now for each in made)
    paid = [_credits(here, each) for each in made]
    used = None if None in paid else sum(each or 0 for each in paid)
    head = b'{"created":%d,"data":[' % int(created.timestamp())
    meta = to_json({"usage": {"credits_used": used}})
    rest = b',"errors":' + to_json(failed) if failed else b""
    body: list[Part] = [head, *parts, b'],"meta":', meta, rest, b"}"]
    return Delivered(
        _written(body),
        {**headers, **told(here, found), "content-length": str(sum(map(_length, body)))},
        "application/json",
        here.calls,
        claim,
    )


async def answer_bytes(
    here: State, asked: Asked, found: Snapshot, headers: dict[str, str], claim: Claim | None
) -> Delivered:
    """Write the bytes of a job's image alone, for who prefers them. Raises as `pictures.opened`."""
    picture = await pictures.opened(here, found, asked.output.conversion)
    own = {**headers, **told(here, [found]), "content-length": str(picture.length)}
    return Delivered(picture.pieces, own, picture.content_type, here.calls, claim)


def told(here: State, found: Sequence[Snapshot]) -> dict[str, str]:
    """Name jobs in headers, and what the provider said of the calls that made their images."""
    headers = {"x-darkroom-job": ", ".join(map(pictures.job_id, found))}
    made = [each for each in found if each.image is not None]
    inferences = [name for each in made if (name := _inference_id(each))]
    if inferences:
        headers["x-inference-id"] = ", ".join(inferences)
    paid = [_credits(here, each) for each in made]
    if paid and None not in paid:
        headers["x-aimlapi-credits-used"] = str(sum(each or 0 for each in paid))
    return headers


async def _item(here: State, asked: Asked, found: Snapshot) -> list[Part]:
    rest = to_json({"size": pictures.size(found), "job_id": pictures.job_id(found)})[1:]
    if asked.output.shape == "url":
        url = to_json(pictures.link(here, found, asked.output.conversion))
        return [b'{"url":', url, b",", rest]
    return [
        b'{"b64_json":"',
        await pictures.opened(here, found, asked.output.conversion),
        b'",',
        rest,
    ]


def _list_of(items: Sequence[list[Part]]) -> list[Part]:
    parts: list[Part] = []
    for item in items:
        parts += [b","] * bool(parts) + item
    return parts


async def _written(parts: Sequence[Part]) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
            continue
        async for piece in part.encoded():
            yield piece


def _length(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else part.encoded_length


def _inference_id(found: Snapshot) -> str | None:
    image = found.image
    own = (each for each in found.attempts if image is not None and each.number == image.attempt)
    return next((each.inference_id for each in own), None)


def _credits(here: State, found: Snapshot) -> int | None:
    """Return what the call that made the image cost; None while that is unknown."""
    result = found.show(here.presenter)["result"]
    assert isinstance(result, dict)  # noqa: S101 - it has an image
    credits_: int | None = result["meta"]["usage"]["credits_used"]
    return credits_
