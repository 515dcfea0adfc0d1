"""`stream: true`: the images of a call as Server-Sent Events, as OpenAI's clients read them.

A comment every few seconds keeps proxies and clients from giving up. Each image is an event of its own, as
soon as its job has succeeded; what goes wrong once the answer has begun is an event `error`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Literal

from fastapi import Request
from pydantic_core import to_json

from api.dependencies.state import State
from api.dropin import outcomes, patience, pictures, waiting
from api.dropin.answering import Delivered, Fate
from api.dropin.joining import Taken
from api.dropin.reading import Asked
from api.edge import problems
from models.errors import Refusal
from models.images.store_errors import StorageError
from models.jobs import Snapshot

Kind = Literal["image_generation", "image_edit"]

_SIGN_OF_LIFE = timedelta(seconds=15)
_HEADERS = {"cache-control": "private, no-store", "x-accel-buffering": "no"}


def stream(
    request: Request, here: State, asked: Asked, taken: Taken, kind: Kind, headers: dict[str, str]
) -> Delivered:
    """Answer with events, from now on until every job has ended or the wait is over."""
    told = {**headers, **_HEADERS, "x-darkroom-job": taken.named}
    fate = Fate()
    events = _events(request, here, asked, taken, kind, fate)
    return Delivered(events, told, "text/event-stream", here.calls, taken.claim, fate)


async def _events(
    request: Request, here: State, asked: Asked, taken: Taken, kind: Kind, fate: Fate
) -> AsyncIterator[bytes]:
    yield b":\n\n"  # the head is sent with the first piece
    found: list[Snapshot] = []
    try:
        async with aclosing(_found(request, here, taken)) as ended:
            async for each in ended:
                if each is None:
                    yield b":\n\n"
                    continue
                found.append(each)
                if each.image is not None:
                    async for piece in _event(here, asked, each, kind):
                        yield piece
        if not any(each.image is not None for each in found):
            raise outcomes.refusal(found)
    except (Refusal, StorageError) as failed:
        refused = problems.as_refusal(failed)
        fate.repeated, fate.failed = outcomes.is_repeated(refused)
        yield _error(request, refused)


async def _found(request: Request, here: State, taken: Taken) -> AsyncGenerator[Snapshot | None]:
    """Yield each job when it has ended, or as it is when the wait is over; None is a sign of life."""
    every = patience.between_signs(request, _SIGN_OF_LIFE)
    clock = asyncio.get_running_loop().time
    until = clock() + here.settings.sync_wait.total_seconds()
    for job_id in taken.jobs:
        while True:
            slice_ = min(every, timedelta(seconds=max(until - clock(), 0)))
            each = await waiting.one(request, here, taken.project_id, job_id, slice_)
            over = clock() >= until or here.waiting.draining or await request.is_disconnected()
            if each.over or over:
                yield each
                break
            yield None


async def _event(here: State, asked: Asked, found: Snapshot, kind: Kind) -> AsyncIterator[bytes]:
    """Write an event around the picture, which comes piece by piece on its one line."""
    picture = await pictures.opened(here, found, asked.output.conversion)
    made = found.job.finished_at or found.now
    name = f"{kind}.completed"
    rest = {
        "created_at": int(made.timestamp()),
        "size": pictures.size(found),
        "output_format": picture.format,
        "background": "opaque",
        "quality": "auto",
        "job_id": pictures.job_id(found),
    }
    yield f'event: {name}\ndata: {{"type":"{name}","b64_json":"'.encode()
    async for piece in picture.encoded():
        yield piece
    yield b'",' + to_json(rest)[1:] + b"\n\n"


def _error(request: Request, refused: Refusal) -> bytes:
    told = problems.describe(request, refused)
    return b"event: error\ndata: " + to_json({**told, "type": "error"}) + b"\n\n"
