"""Erasures, and their proof."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from api.contract.shapes.parts import Page, Shape
from models.platform.jsonable import Json
from models.states import ErasurePhase, ErasureSubject

ErasureId = Annotated[str, Field(pattern="^ers_[0-9a-z]{26}$")]


class ErasedJobs(Shape):
    """How many jobs were erased and, of those, canceled for it; and how many are waited for now.

    `sha256` is the sum of the SHA-256 of each erased job's id, modulo 2^256, in hex.
    """

    erased: int
    canceled: int
    waiting: int
    sha256: str


class ErasedRows(Shape):
    """How many of what lost what they said, or are gone."""

    images: int
    references: int
    attempts: int
    events: int
    deliveries: int
    calls: int
    idempotency_keys: int
    ledger_lines: int = Field(description="that lost the customer; their credits stay")
    usage_hours: int
    budgets: int
    notices: int
    actions: int
    batches: int
    files: int = Field(description="that were uploaded for the customer")


class Erasure(Shape):
    """An erasure as it stands; when it is completed, the proof of it."""

    id: ErasureId
    object: Literal["erasure"]
    subject: ErasureSubject
    about: Json | None = Field(description="what is being erased; null when it is")
    digest: str = Field(
        description="recognizes what was erased, for who knows it and has this installation's secret"
    )
    status: Literal["running", "completed"]
    phase: ErasurePhase = Field(
        description="what is being erased now; `images` waits for the store"
    )
    jobs: ErasedJobs
    removed: ErasedRows
    created_at: datetime = Field(description="what was accepted later is not erased")
    rows_erased_at: datetime | None
    completed_at: datetime | None


class ErasurePage(Page):
    """Erasures, newest first."""

    data: list[Erasure]
