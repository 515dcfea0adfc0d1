"""Whom or what to forget."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from api.contract.formats import cursors
from api.contract.requests.parts import Customer, Metadata, Strict, unique
from models import ids
from models.jobs.erasures import Wish

_JOBS_MAX = 1_000


def _are_ids(written: list[str]) -> list[str]:
    wrong = [each for each in written if ids.parse(ids.JOB, each) is None]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no job's id; one is job_ and 26 letters or digits")
    return unique(written)


class ErasureBody(Strict):
    """One of these: a customer with all that names it, or jobs wholly, by their ids or their metadata."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"customer": "c_9"}], "minProperties": 1},
    )

    customer: Customer | None = None
    job_ids: Annotated[
        list[Annotated[str, Field(max_length=64)]],
        Field(max_length=_JOBS_MAX),
        AfterValidator(_are_ids),
    ] = Field(default_factory=list)
    metadata: Metadata = Field(
        default_factory=dict,
        description="jobs that have all of these pairs; their customer stays",
    )

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        given = [self.customer is not None, bool(self.job_ids), bool(self.metadata)]
        if sum(given) != 1:
            raise ValueError(
                "send one of `customer`, `job_ids` and `metadata`, and not an empty one"
            )
        return self

    def wish(self, name: tuple[bytes, bytes] | None) -> Wish:
        """Return what is meant, under the hashes of a request's name."""
        found = [ids.parse(ids.JOB, each) for each in self.job_ids]
        return Wish(
            customer=self.customer,
            job_ids=[each for each in found if each is not None],
            metadata=self.metadata,
            name=name,
        )


class ErasureQuery(BaseModel):
    """Which erasures: of a customer, or all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    customer: Annotated[
        Customer | None, Field(description="those of this customer, also when they are completed")
    ] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=64)] | None = None

    @property
    def before(self) -> UUID | None:
        """The id that the page before ended with; raises `InvalidRequest`."""
        return None if self.cursor is None else cursors.read(self.cursor)
