"""Refusals, and what a process says of its health."""

from typing import Literal

from pydantic import Field

from api.contract.shapes.parts import Shape


class Health(Shape):
    """Whether a process is well, and what there is to say of it."""

    status: Literal["ok", "unavailable"]
    detail: str = Field(default_factory=str)


class FieldProblem(Shape):
    """A field that breaks a rule: a pointer into the body, or `query:`, `header:`, `column:` and a name.

    Of a batch the pointer is into a row, which is named beside it.
    """

    row: int = Field(default_factory=int, description="of a batch alone: counted from 1")
    custom_id: str | None = Field(
        default_factory=lambda: None, description="of a batch alone; null where the row has none"
    )
    pointer: str
    message: str


class Problem(Shape, extra="allow"):
    """A refusal (RFC 9457). Beside these, `budget_exceeded` has the `budget` that it is about.

    Where clients of OpenAI's shape ask, `error` says the same as they read it.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    retryable: bool
    request_id: str
    errors: list[FieldProblem]
