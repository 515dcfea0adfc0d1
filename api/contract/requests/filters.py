"""Which jobs are meant: in the query of the list and its CSV, and in the body of an action alike."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, get_args
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from api.contract.requests.parts import (
    Metadata,
    Moment,
    Name,
    Strict,
    Tag,
    Text,
    Value,
)
from models import ids
from models.jobs import Filter
from models.states import WaitingReason

ShownStatus = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]
STATUSES: tuple[ShownStatus, ...] = get_args(ShownStatus)


def _split(written: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in written.split(",")))


def _checked(written: str) -> str:
    wrong = [word for word in _split(written) if word not in STATUSES]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no status; use some of {','.join(STATUSES)}")
    return written


def _batch(written: str | None) -> str | None:
    if written is not None and ids.batch(written) is None:
        raise ValueError("this is no id of a batch or a group")
    return written


def _listed(given: object) -> object:
    return _split(given) if isinstance(given, str) else given


class Filters(BaseModel):
    """What a job may be chosen by, beside its status and its metadata."""

    model: Value | None = None
    tag: Tag | None = None
    customer: Name | None = None
    idempotency_key: Annotated[
        Text | None,
        Field(
            min_length=1,
            max_length=255,
            description="of the request that made the job; of a group, its first job has it",
        ),
    ] = None
    charge_state: Literal["none", "unknown", "settled", "released"] | None = None
    waiting_reason: WaitingReason | None = None
    erased: Annotated[
        bool | None, Field(description="whether the job was erased; both, unless it is said")
    ] = None
    search: Annotated[
        Text | None,
        Field(
            min_length=1,
            max_length=200,
            description="an id, an idempotency key, a `custom_id`, a customer, a tag or a value of the "
            "metadata as it is, or a part of a prompt. A page looks through 10,000 jobs: with `has_more` "
            "it may be short, or empty",
        ),
    ] = None
    batch: Annotated[
        str | None, AfterValidator(_batch), Field(description="the id of a batch, or of a group")
    ] = None
    custom_id: Annotated[Text | None, Field(min_length=1, max_length=128)] = None
    created_after: Annotated[Moment | None, Field(description="the first moment")] = None
    created_before: Annotated[Moment | None, Field(description="the first moment after")] = None

    def _filter(
        self, statuses: Iterable[str], metadata: dict[str, str], before: UUID | None = None
    ) -> Filter:
        chosen = {name: getattr(self, name) for name in Filters.model_fields}
        chosen["batch"] = None if self.batch is None else ids.batch(self.batch)
        return Filter(statuses=tuple(statuses), metadata=metadata, before=before, **chosen)


class ListQuery(Filters):
    """The filters of `GET /v1/jobs`, beside `metadata[key]=value`; and the page."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: (
        Annotated[
            str,
            Field(max_length=128, description=f"some of `{','.join(STATUSES)}`"),
            AfterValidator(_checked),
        ]
        | None
    ) = None
    limit: Annotated[int, Field(ge=1, le=100, description="of a page; not of CSV")] = 20
    cursor: Annotated[str, Field(max_length=256)] | None = None
    format: Annotated[
        Literal["json", "csv"] | None,
        Field(description="default: what `Accept` prefers, or `json`"),
    ] = None

    def filter(self, metadata: dict[str, str], before: UUID | None) -> Filter:
        """Return what is meant, from a cursor's place on."""
        statuses: Sequence[str] = () if self.status is None else _split(self.status)
        return self._filter(statuses, metadata, before)


class FilterBody(Filters, Strict):
    """The same filters in a body: `status` is a list here, or a text with commas, `metadata` an object."""

    status: Annotated[
        list[ShownStatus], Field(min_length=1, max_length=len(STATUSES)), BeforeValidator(_listed)
    ] = []
    metadata: Metadata = {}

    @property
    def filter(self) -> Filter:
        """Return what is meant."""
        return self._filter(self.status, self.metadata)
