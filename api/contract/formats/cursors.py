"""Cursors of pages: the last id of the page before, written so that nobody takes it for one."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from models.errors import FieldError, InvalidRequest


def write(last: UUID) -> str:
    """Write the cursor of the page after this id."""
    return urlsafe_b64encode(last.bytes).decode().rstrip("=")


def read(cursor: str) -> UUID:
    """Read a cursor back; raises `InvalidRequest` for what is none."""
    try:
        return UUID(bytes=urlsafe_b64decode(cursor + "=="))
    except ValueError:
        raise refusal(cursor, "query:cursor") from None


def refusal(cursor: str, pointer: str) -> InvalidRequest:
    """Refuse a cursor that is none of ours."""
    message = "use `next_cursor` of the page before, as it came"
    return InvalidRequest(
        f"The cursor {cursor!r} is none of ours: {message}.", errors=(FieldError(pointer, message),)
    )
