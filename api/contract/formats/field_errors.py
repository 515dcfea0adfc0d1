"""What Pydantic says of a field, in our words and with a pointer into the request."""

from collections.abc import Sequence
from typing import cast

from models.errors import FieldError
from models.platform.wording import pointer_to

_SHOWN = 200  # characters of a value that a message repeats


def field_error(error: dict[str, object]) -> FieldError:
    """Write one of Pydantic's errors, whose location begins with where it stands, as `body`."""
    place, *path = cast("Sequence[str | int]", error["loc"])
    if path[2:] == ["[key]"]:
        path.pop()  # how Pydantic says that it means the name, not the value
    where = pointer_to(*path) if place == "body" else f"{place}:{pointer_to(path[-1])[1:]}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return FieldError(where, "there is no such field; remove it, or correct its name")
    given = error.get("input")
    if isinstance(given, str):
        # What Pydantic says of any length once a validator of ours has looked at the value.
        message = message.replace(" items after validation", " characters")
        message = message.replace(" item after validation", " character")
    if isinstance(given, str | int | float):
        message = f"{str(given)[:_SHOWN]!r}: {message}"
    return FieldError(where, message)
