"""What an answer says went wrong: its own errors and those of its items, in words for people and programs.

Three shapes of error are in the wild: problem+json with an `error` object, the legacy one with
`statusCode`, and an `error` object alone.
"""

from collections.abc import Iterator

from worker.provider import credits as money
from worker.provider.outcomes import Detail

# Long enough for every message seen, short enough for a row and a log line.
MESSAGE_MAX = 500
ID_MAX = 200
# What names an error in the provider's `error` object.
NAMES = ("name", "code", "type")
# Where providers behind it put the words for people.
_WORDS = ("message", "msg", "detail", "reason", "description")
# What is false beside words for people.
_SUCCESS = ("success", "ok")
_ERROR_STATUSES = range(400, 600)


def listed(body: object) -> list[dict[str, object]]:
    """List the errors of an answer as objects: its own, those of its items, or itself if it is one."""
    if not isinstance(body, dict):
        return []
    given = [body.get("error"), body.get("errors")]
    for name in ("data", "images", "output"):
        items = body.get(name)
        given += [
            each.get("error")
            for each in (items if isinstance(items, list) else [items])
            if isinstance(each, dict)
        ]
    found: list[dict[str, object]] = []
    for each in (one for some in given for one in (some if isinstance(some, list) else [some])):
        if isinstance(each, str):
            found.append({"message": each})
        elif isinstance(each, dict) and each:
            found.append(each)
    told = any(key in body for key in ("status", "statusCode", *NAMES)) or any(
        body.get(key) is False for key in _SUCCESS
    )
    bare = told and any(isinstance(body.get(key), str | list) for key in _WORDS)
    return [*found, body] if found or bare else []


def codes(error: dict[str, object]) -> Iterator[str]:
    """Yield what an error says to programs: its code, type, name and kind."""
    data = error.get("data")
    kind = data.get("kind") if isinstance(data, dict) else None
    yield from (text for text in (*map(error.get, NAMES), kind) if isinstance(text, str))


def status(errors: list[dict[str, object]]) -> int | None:
    """Return the HTTP status that an answer tells beside its own."""
    for error in errors:
        for key in ("statusCode", "status", "code"):
            told = money.whole(error.get(key))
            if told is not None and told in _ERROR_STATUSES:
                return told
    return None


def messages(body: object) -> list[str]:
    """Return the words for people, of the place that is most about this call; an empty list without any."""
    if not isinstance(body, dict):
        return []
    error = body.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    items = [each.get(key) for each in listed(body) for key in _WORDS]
    for said in (body.get("message"), inner, body.get("detail"), *items, body.get("title")):
        texts = said if isinstance(said, list) else [said]
        found = [text for text in texts if isinstance(text, str) and text.strip()]
        if found:
            return found
    return []


def details(body: object) -> Iterator[Detail]:
    """Yield the provider's field errors."""
    if not isinstance(body, dict):
        return
    if isinstance(body.get("message"), list):
        yield from (Detail("", clean(text, MESSAGE_MAX)) for text in messages(body))
    for error in listed(body):
        yield from _of_error(error)


def _of_error(error: dict[str, object]) -> Iterator[Detail]:
    param, message, data = error.get("param"), error.get("message"), error.get("data")
    if param and isinstance(param, str) and isinstance(message, str):
        yield Detail(clean(param, ID_MAX), clean(message, MESSAGE_MAX))
    for each in data if isinstance(data, list) else []:
        if isinstance(each, dict) and isinstance(each.get("message"), str):
            yield Detail(_path(each.get("path")), clean(each["message"], MESSAGE_MAX))


def _path(path: object) -> str:
    steps = path if isinstance(path, list) else [path]
    return clean(".".join(str(step) for step in steps if isinstance(step, str | int)), ID_MAX)


def clean(text: str, length: int) -> str:
    """Return a text, cut, without what JSON may hold and a database's text cannot: NUL, half surrogates."""
    return text[:length].encode(errors="replace").decode().replace("\0", "")
