"""What is asked for of many jobs."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from api.contract.requests.filters import FilterBody
from api.contract.requests.parts import Strict
from models.states import ActionKind

_EXAMPLE: JsonDict = {
    "action": "retry",
    "filter": {"status": ["failed"], "created_after": "2026-11-22T10:00:00Z"},
    "dry_run": True,
}


class Chosen(FilterBody):
    """A filter that names something: one that names nothing would be every job there is."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra={"minProperties": 1}
    )

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not any(getattr(self, name) not in (None, [], {}) for name in self.model_fields_set):
            raise ValueError(
                "it names nothing, and so every job there is; say which are meant, such as "
                '{"status": ["failed"]} or {"created_before": "…"}'
            )
        return self


class ActionBody(Strict):
    """One thing to do to every job that a filter leaves.

    `retry` without a `status` means what brought no image: failed and expired. `redeliver` sends again what
    failed or is held.
    """

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra={"examples": [_EXAMPLE]}
    )

    action: ActionKind
    filter: Chosen
    dry_run: Annotated[
        bool, Field(description="only count, and say what it would cost: nothing is done")
    ] = False


class PageQuery(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=64)] | None = None
