"""What a store, and the disk on the way to it, may refuse: one tree, whatever the library raised."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from obstore.exceptions import BaseError
from prometheus_client import Counter

Operation = Literal["get", "put", "head", "delete", "spool"]

_ERRORS = Counter(
    "darkroom_store_errors_total",
    "Times that the store, or the disk on the way to it, refused",
    ["operation"],
)
for _operation in get_args(Operation):
    _ERRORS.labels(_operation)


class StorageError(Exception):
    """An image could not be kept or read."""


class NotAnImage(StorageError):
    """The bytes are not an image of a known format; the argument says what they look like."""


class Truncated(StorageError):
    """The image is truncated: its file ends before the picture does."""


class TooLarge(StorageError):
    """The image has more bytes than allowed."""


class Missing(StorageError):
    """Nothing is kept under this key."""


class StoreUnavailable(StorageError):
    """The store, or the disk on the way to it, refused: full, read-only, away, slow."""


@contextmanager
def translated(
    operation: Operation,
    what: str,
    *,
    absent: type[Missing | StoreUnavailable] = StoreUnavailable,
) -> Iterator[None]:
    """Turn everything that obstore and the disk raise into these errors, and count them."""
    try:
        yield
    except FileNotFoundError as error:
        if absent is not Missing:
            _ERRORS.labels(operation).inc()
        raise absent(f"{what}: not found") from error
    except (BaseError, OSError, ValueError, RuntimeError) as error:
        _ERRORS.labels(operation).inc()
        raise StoreUnavailable(f"{what}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return what an error says, without what libraries add below."""
    return str(error).partition("\n")[0]
