"""Which jobs an action is about: those that its filter names, as far as it can do anything to them."""

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import aliased

from models import ids
from models.jobs.reading import filtering
from models.jobs.reading.filtering import Filter
from models.platform.jsonable import time
from models.schema import Delivery, Job
from models.states import ActionKind
from models.webhooks import deliveries

# A retry that names no status means jobs that brought no image; all others would be paid for twice.
_RETRIED = ("failed", "expired")
_PLACES = ("before", "after")
_MOMENTS = ("created_after", "created_before")
_Later = aliased(Job)


def written(filter_: Filter) -> dict[str, object]:
    """Write a filter as it is stored and shown: only what narrows, by the names of the API."""
    named = {each.name: getattr(filter_, each.name) for each in fields(Filter)}
    named["status"] = list(named.pop("statuses"))
    for name in _MOMENTS:
        named[name] = time(named[name])
    if filter_.batch is not None:
        named["batch"] = ids.text(ids.BATCH, filter_.batch)
    return {
        name: value
        for name, value in named.items()
        if name not in _PLACES and value is not None and value not in ({}, [])
    }


def read(stored: dict[str, object]) -> Filter:
    """Read back what `written` has written."""
    values: dict[str, Any] = dict(stored)
    values["statuses"] = tuple(values.pop("status", ()))
    for name in set(_MOMENTS) & values.keys():
        values[name] = datetime.fromisoformat(str(values[name]))
    if "batch" in values:
        values["batch"] = ids.batch(values["batch"])
    return Filter(**values)


def until(filter_: Filter, moment: datetime) -> Filter:
    """Leave out what was accepted after a moment."""
    ends = moment + timedelta.resolution
    return replace(filter_, created_before=min(filter_.created_before or ends, ends))


def chosen(project_id: UUID, kind: ActionKind, filter_: Filter) -> Iterator[ColumnElement[bool]]:
    """Yield, as SQL beside a job, what makes it one that the action is about."""
    if kind == "retry" and not filter_.statuses:
        filter_ = replace(filter_, statuses=_RETRIED)
    yield filtering.within(project_id, filter_)
    yield from filtering.narrow(filter_)
    match kind:
        case "cancel":
            yield Job.finished_at.is_(None)
            yield Job.cancel_requested_at.is_(None)
        case "retry":
            # One retry for each job: repeating an action that stopped or failed pays once.
            yield from _is_whole()
            yield ~select(_Later.id).where(_Later.retried_from == Job.id).exists()
        case "erase":
            yield from _is_whole()
        case "redeliver":
            untold = Delivery.job_id == Job.id, *deliveries.missed()
            yield select(Delivery.id).where(*untold).exists()


def _is_whole() -> Iterator[ColumnElement[bool]]:
    yield Job.finished_at.is_not(None)
    yield Job.erased_at.is_(None)
