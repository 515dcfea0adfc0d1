"""The bodies of webhooks: serialised once, stored, and sent as these very bytes on every try."""

import json
from collections.abc import Callable
from datetime import datetime

from models.platform.jsonable import Json, time

_BODY_MAX = 20_000  # bytes of a webhook's body; many receivers cap requests at 32 kB
_PROMPT_MAX = 2_000  # bytes, as JSON writes it
_TEXT_MAX = 300  # bytes, likewise

# What an event still says of a job that was erased.
_LASTING = (
    "id", "object", "status", "customer", "created_at", "started_at", "finished_at", "cost",
    "sequence",
)  # fmt: skip


def of_job(type_: str, shown: Json, now: datetime) -> bytes:
    """Serialise an event about a job, once: these bytes are stored, signed and sent.

    At most 20 kB: what does not fit is cut, the most likely cause first, and says so.
    """
    data = shown
    body = of(type_, data, now)
    for cut in _CUTS:
        if len(body) <= _BODY_MAX and _fits(_prompt(data), _PROMPT_MAX):
            break
        data = cut(data) | {"input_truncated": True}
        body = of(type_, data, now)
    return body


def of_group(type_: str, shown: Json, now: datetime) -> bytes:
    """Serialise an event about a group, with its jobs as they ended: without what all of them were asked.

    Bounded as that of one job.
    """
    data = _of_each(shown, lambda job: {**job, "input": None, "input_truncated": True})
    body = of(type_, data, now)
    for cut in (_cut_links, _cut_attempts, _cut_error, _cut_metadata, _without_attempts):
        if len(body) <= _BODY_MAX:
            break
        data = _of_each(data, cut)
        if cut is _cut_metadata:
            data = {**data, "metadata": {}}
        body = of(type_, data, now)
    return body


def emptied(body: bytes, job: str) -> bytes:
    """Cut an event about an erased job, or its group, to ids, states, times and costs of that job."""
    return _edited(
        body, job, lambda told: {name: told.get(name) for name in _LASTING} | {"erased": True}
    )


def nameless(body: bytes, job: str) -> bytes:
    """Take the customer of a job out of an event about it, or its group."""
    return _edited(body, job, lambda told: {**told, "customer": None})


def unquoted(body: bytes, code: str, instead: str) -> bytes:
    """Put other words in place of why rows failed of this code, in an event about their batch."""
    event = json.loads(body)
    for each in event["data"]["top_errors"]:
        if each["code"] == code:
            each["message"] = instead
    return _written(event)


def without_metadata(body: bytes) -> bytes:
    """Take the metadata out of an event about a batch."""
    event = json.loads(body)
    event["data"]["metadata"] = {}
    return _written(event)


def without_customer(body: bytes, name: str) -> bytes:
    """Take a customer out of an event about a budget, if it is on this one."""
    event = json.loads(body)
    budget = event["data"].get("budget")
    if not isinstance(budget, dict) or budget.get("customer") != name:
        return body
    budget["customer"] = None
    return _written(event)


def of(type_: str, data: Json, now: datetime) -> bytes:
    """Serialise any event: type, timestamp, data."""
    return _written({"type": type_, "timestamp": time(now), "data": data})


def _edited(body: bytes, job: str, edit: Callable[[Json], Json]) -> bytes:
    event = json.loads(body)
    data = event["data"]
    if data.get("id") == job:
        event["data"] = edit(data)
    else:
        data["jobs"] = [edit(each) if each["id"] == job else each for each in data.get("jobs", ())]
    return _written(event)


def _written(event: Json) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _prompt(data: Json) -> str:
    shown = data["input"]
    prompt = shown.get("prompt") if isinstance(shown, dict) else None
    return prompt if isinstance(prompt, str) else ""


def _of_each(data: Json, cut: Callable[[Json], Json]) -> Json:
    jobs = data["jobs"]
    return {**data, "jobs": [cut(job) for job in jobs] if isinstance(jobs, list) else []}


def _cut_input(data: Json) -> Json:
    shown = data["input"]
    assert isinstance(shown, dict)  # noqa: S101 - `job` made it; tells the type checker so
    prompt = _short(_prompt(data), _PROMPT_MAX)
    urls = shown.get("image_urls")
    short = [_short(str(url), _TEXT_MAX) for url in urls] if isinstance(urls, list) else None
    cut = {**shown, "prompt": prompt} | ({} if short is None else {"image_urls": short})
    return {**data, "input": cut}


def _cut_links(data: Json) -> Json:
    """Leave out where the provider keeps the images: such a URL may be longer than the body may be."""
    result = data["result"]
    if not isinstance(result, dict):
        return data
    images = [{**image, "provider_url": None} for image in result["data"]]
    return {**data, "result": {**result, "data": images}}


def _cut_attempts(data: Json) -> Json:
    attempts = data["attempts"]
    return {**data, "attempts": attempts[-1:] if isinstance(attempts, list) else []}


def _without_attempts(data: Json) -> Json:
    return {**data, "attempts": []}


def _cut_error(data: Json) -> Json:
    error = data["error"]
    return {**data, "error": error | {"details": None}} if isinstance(error, dict) else data


def _cut_metadata(data: Json) -> Json:
    return {**data, "metadata": {}, "tags": []}


_CUTS: tuple[Callable[[Json], Json], ...] = (
    _cut_input, _cut_links, _cut_attempts, _cut_error, _cut_metadata,
)  # fmt: skip


def _fits(text: str, most: int) -> bool:
    return len(json.dumps(text, ensure_ascii=False).encode()) <= most + len('""')


def _short(text: str, most: int) -> str:
    """Cut a text to `most` bytes as JSON writes it (a control is six), never inside a character."""
    short = text[:most]
    while not _fits(short, most):
        short = short[: len(short) * most // len(json.dumps(short, ensure_ascii=False).encode())]
    return short
