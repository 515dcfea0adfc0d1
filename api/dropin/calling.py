"""The way of a synchronous call: read it, take its jobs, wait, answer."""

from collections.abc import Sequence
from dataclasses import replace

from fastapi import Request, Response

from api.contract.requests.jobs import SubmitBody
from api.dependencies.bodies import ParsedRequest, let_go, no_body
from api.dependencies.state import State, state_of
from api.dropin import (
    answering,
    forms,
    joining,
    outcomes,
    outputs,
    patience,
    reading,
    streaming,
    waiting,
)
from api.dropin.joining import Taken
from api.dropin.reading import Asked
from api.dropin.streaming import Kind
from api.edge import problems
from models.accounts.callers import Caller
from models.errors import FieldError, Refusal
from models.images.store_errors import StorageError
from models.jobs import Snapshot

_KINDS: dict[str, Kind] = {"generations": "image_generation", "edits": "image_edit"}
_USED = SubmitBody.model_construct(input={})
_LENIENT = "handling=lenient"  # RFC 7240, 4.4


async def call(request: Request, caller: Caller, route: str) -> Response:
    """Answer a call when its image is kept, or with what has become of it. Raises as a submission does."""
    here, (raw, pictures) = state_of(request), _body(request, caller)
    lenient = _LENIENT in request.headers.get("prefer", "").lower().replace(" ", "")
    body = await joining.fingerprint(route, raw)
    asked = reading.read(raw, caller.aliases, lenient=lenient, pictures=pictures)
    if route == "edits" and "image_urls" not in raw:
        raise reading.refusal(
            [FieldError(f"/{pictures}", "there is no picture to edit; send one.")]
        )
    if asked.count == 1 and not asked.stream:
        output = outputs.preferred(request.headers.get("accept", ""), asked.output)
        asked = replace(asked, output=output)
    taken = await joining.take(request, here, caller, asked, body)
    let_go(request)
    asked = replace(asked, body=_USED)  # its references too, which are what is large
    headers = _headers(asked, taken, lenient=lenient)
    if asked.stream:
        return streaming.stream(request, here, asked, taken, _KINDS[route], headers)
    return await _answer(request, here, asked, taken, headers)


async def _answer(
    request: Request, here: State, asked: Asked, taken: Taken, headers: dict[str, str]
) -> Response:
    """Wait, and answer; whatever goes wrong, the call is one that a repetition joins."""
    wait = patience.of(request, here.settings.sync_wait)
    try:
        with here.calls.held(taken.claim):
            found = await waiting.every(request, here, taken.project_id, taken.jobs, wait)
            if any(each.image is not None for each in found) and _ended(found):
                return await _images(here, asked, found, headers, taken)
            refused = outcomes.refusal(found)
    except (Refusal, StorageError) as raised:
        refused = problems.as_refusal(raised)
    except BaseException:
        here.calls.note(taken.claim, answered=False)
        raise
    repeated, failed = outcomes.is_repeated(refused)
    gone = await request.is_disconnected()
    here.calls.note(taken.claim, answered=not (repeated or gone), failed=failed)
    response = problems.problem(request, refused)
    response.headers.update(
        {**headers, "x-darkroom-job": taken.named, "location": taken.location(here)}
    )
    return response


async def _images(
    here: State, asked: Asked, found: Sequence[Snapshot], headers: dict[str, str], taken: Taken
) -> Response:
    if asked.output.shape == "bytes":
        return await answering.answer_bytes(here, asked, found[0], headers, taken.claim)
    return await answering.answer(here, asked, found, headers, taken.claim)


def _ended(found: Sequence[Snapshot]) -> bool:
    return all(each.over for each in found)


def _headers(asked: Asked, taken: Taken, *, lenient: bool) -> dict[str, str]:
    headers = {"cache-control": "private, no-store"}
    if asked.ignored:
        headers["x-darkroom-ignored"] = ", ".join(asked.ignored)
    if lenient:
        headers["preference-applied"] = _LENIENT
    if taken.before:
        headers["idempotent-replayed"] = "true"
    return headers


def _body(request: Request, caller: Caller) -> tuple[dict[str, object], str]:
    """Return the body, and under which name its pictures came. Raises as `reading.read` does."""
    parsed = request.parsed if isinstance(request, ParsedRequest) else None
    if not isinstance(parsed, dict):
        raise no_body("it has no body of fields; send a JSON object with `model` and `prompt`")
    named = reading.take_pictures(parsed)
    if not (isinstance(request, ParsedRequest) and request.is_form):
        return parsed, named
    _, model = reading.model_of(parsed, caller.aliases)
    forms.type_own(parsed, model)
    return parsed, "image"
