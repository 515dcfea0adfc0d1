"""How a batch or a group is answered: where it stands, with its tag, and when to ask again."""

from collections.abc import Mapping

from api.contract.formats.answers import JsonAnswer
from api.dependencies.state import State
from models.jobs import batches
from models.jobs.batches import Standing
from models.platform.jsonable import Json


def shown(
    here: State,
    found: Standing,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    beside: Json | None = None,
) -> JsonAnswer:
    """Answer with a batch as it is, and what is to be told `beside` it."""
    named = {"etag": found.etag, "cache-control": "private, no-cache", **(headers or {})}
    if not found.over:
        named["retry-after"] = "5"
    return JsonAnswer(batches.show(here.presenter, found) | (beside or {}), status, named)


def taken(
    here: State,
    found: Standing,
    *,
    replayed: bool,
    status: int = 202,
    headers: Mapping[str, str] | None = None,
    beside: Json | None = None,
) -> JsonAnswer:
    """Answer with a batch that was just taken, or before by the same request."""
    named = {"location": here.located(f"/v1/batches/{batches.written(found.batch)}")}
    if replayed:
        named["idempotent-replayed"] = "true"
    return shown(here, found, status, named | dict(headers or {}), beside)
