"""Who acts: known to a request and to a command, and written with each line of the audit log.

A context variable, as the logs have their request's id: every domain function would have to pass it on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from models.states import Acting


@dataclass(frozen=True, slots=True)
class Actor:
    """An API key (also through a browser's session), the user of a command, or Darkroom by itself."""

    acting: Acting = "darkroom"
    key_id: UUID | None = None
    name: str | None = None
    address: str | None = None
    request_id: str | None = None


_ACTOR: ContextVar[Actor | None] = ContextVar("actor", default=None)
_DARKROOM = Actor()


def present() -> Actor:
    """Return who acts; Darkroom itself, where nobody has asked for it."""
    return _ACTOR.get() or _DARKROOM


def enter(actor: Actor) -> None:
    """Set who acts in the present context from now on: a request's, or a command's."""
    _ACTOR.set(actor)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Set who acts within the block."""
    token = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(token)
