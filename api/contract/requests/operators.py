"""The operator plane and the audit log: bodies and queries."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.contract.formats import cursors
from api.contract.requests.parts import Strict, Text
from api.contract.requests.usage import Times, an_id
from models import ids
from models.audit_log.reading import Wanted
from models.errors import FieldError, InvalidRequest
from models.operating.tenants import Changes
from models.states import AuditAction

_DAY, _WEEK = timedelta(days=1), timedelta(days=8)
_BIGGEST = (1 << 63) - 1

Cap = Annotated[int, Field(ge=1, le=1_000_000)]
ProjectName = Annotated[Text, Field(min_length=1, max_length=128)]
Reason = Annotated[Text, Field(min_length=1, max_length=500)]
Limit = Annotated[int, Field(ge=1, le=100)]
Cursor = Annotated[str, Field(max_length=64)]


class Limits(Strict):
    """What bounds a project; what is not named stays."""

    in_flight_cap: Annotated[
        Cap | None, Field(description="jobs in flight at once; null: the provider's limit alone")
    ] = None
    concurrency_key_cap: Cap | None = None
    idempotency_required: bool | None = None


class ProjectBody(Limits):
    """A new project."""

    name: ProjectName

    @property
    def changes(self) -> Changes:
        """The limits that the new project is to have."""
        return _changes(self, None)


class ProjectChanges(Limits):
    """What is to be changed of a project; what is not named stays."""

    name: ProjectName | None = None

    @property
    def changes(self) -> Changes:
        """What is to be changed."""
        return _changes(self, self.name)


class SuspendBody(Strict):
    """Why a project is suspended, for people."""

    reason: Reason


class PauseBody(Strict):
    """What is to be paused or to go on: everything, a model, or a project."""

    scope: Literal["all", "model", "project"] = "all"
    model: Annotated[Text, Field(max_length=200)] | None = None
    project_id: Annotated[str, Field(max_length=64)] | None = None

    @model_validator(mode="after")
    def _names_it(self) -> Self:
        given = {"model": self.model, "project": self.project_id}
        named = {scope for scope, name in given.items() if name is not None}
        if named != ({self.scope} - {"all"}):
            raise ValueError(
                "a model is named by `model`, a project by `project_id`, all by neither"
            )
        return self


class ProbeBody(Strict):
    """Which gate the next job is to try."""

    reason: Literal["wallet_empty", "provider_key", "provider_down"]


class ResolveBody(Strict):
    """What an attempt of unknown charge cost: nothing, or `credits`, by default what is held for it."""

    verdict: Literal["charged", "free"]
    credits: Annotated[int, Field(ge=0, le=1 << 53)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.credits is not None and self.verdict == "free":
            raise ValueError("what was free has no credits; leave them out")
        return self


class _Query(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    limit: Limit = 20


class ProjectsQuery(_Query):
    """A page of projects."""

    deleted: bool = Field(default=False, description="those that were deleted, too")
    cursor: Cursor | None = None


class KeysQuery(_Query):
    """A page of keys, of all projects or of one."""

    project: Annotated[str, an_id(ids.PROJECT)] | None = None
    cursor: Cursor | None = None


class ChargesQuery(_Query):
    """A page of unknown charges."""

    cursor: Cursor | None = None


class AuditQuery(_Query):
    """Which lines of the audit log."""

    action: AuditAction | None = None
    subject: Annotated[Text, Field(max_length=128)] | None = None
    key: Annotated[str, an_id(ids.KEY)] | None = Field(default=None, description="who acted")
    cursor: Cursor | None = None

    def wanted(self, project: str | None) -> Wanted:
        """The lines that are meant; raises `InvalidRequest` for a cursor that is none of ours."""
        return Wanted(
            project_id=None if project is None else ids.parse(ids.PROJECT, project),
            action=self.action,
            subject=self.subject,
            key_id=None if self.key is None else ids.parse(ids.KEY, self.key),
            before=None if self.cursor is None else _read_cursor(self.cursor),
        )


class AuditOfAllQuery(AuditQuery):
    """Which lines of the audit log, of all projects or of one."""

    project: Annotated[str, an_id(ids.PROJECT)] | None = None


class HistoryQuery(Times):
    """A time of the last eight days; by default the last day."""

    def period(self, now: datetime) -> tuple[datetime, datetime]:
        """The time that is meant; raises `InvalidRequest` for one that ends before it begins."""
        self.demand_order()
        end = min(self.end or now, now)
        return max(self.start or self.before(end, _DAY), now - _WEEK), end


def write_cursor(seq: int) -> str:
    """Write the cursor of the page after this line of the audit log."""
    return urlsafe_b64encode(seq.to_bytes(8)).decode().rstrip("=")


def _read_cursor(cursor: str) -> int:
    try:
        seq = int.from_bytes(urlsafe_b64decode(cursor + "=="))
    except ValueError:
        seq = 0
    if not 0 < seq <= _BIGGEST or write_cursor(seq) != cursor.rstrip("="):
        raise cursors.refusal(cursor, "query:cursor")
    return seq


def _changes(limits: Limits, name: str | None) -> Changes:
    named = limits.model_fields_set
    return Changes(
        name=name,
        in_flight=limits.in_flight_cap,
        no_cap="in_flight_cap" in named and limits.in_flight_cap is None,
        per_key=limits.concurrency_key_cap,
        idempotency_required=limits.idempotency_required,
    )


def unknown_project() -> InvalidRequest:
    """Refuse a project that is named by no id."""
    message = "use its id: prj_ and 26 letters or digits"
    return InvalidRequest(
        f"The project cannot be found so: {message}.", errors=(FieldError("/project_id", message),)
    )
