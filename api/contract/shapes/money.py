"""Budgets, usage, the ledger, quotes."""

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from api.contract.shapes.parts import Cost, Credits, JobId, KeyId, Page, Shape
from models.states import BudgetMode, BudgetScope, BudgetWindowKind, LedgerKind


class Budget(Shape):
    """A limit, and where it stands in its present window; in all, it has none."""

    id: str = Field(pattern="^bud_[0-9a-z]{26}$")
    object: Literal["budget"]
    scope: BudgetScope
    key_id: KeyId | None
    customer: str | None
    window: BudgetWindowKind
    timezone: str
    mode: BudgetMode
    limit: Credits
    spent: Credits
    held: Credits
    left: Credits
    window_starts_at: datetime | None
    window_ends_at: datetime | None
    unit: Literal["credits"]


class BudgetList(Shape):
    """All budgets of a project, oldest first."""

    object: Literal["list"]
    data: list[Budget]


class JobCounts(Shape):
    """Jobs that were submitted in a time, and those that ended in it."""

    submitted: int
    succeeded: int
    failed: int
    canceled: int
    expired: int


class Sums(Shape):
    """What happened in a time, and what it cost; `saved` is what reuse did not pay again."""

    jobs: JobCounts
    attempts: int
    charged: Cost
    unknown: Cost
    held: Cost
    saved: Cost


class UsageRow(Sums):
    """The sums of one group; it has the dimensions that were asked for, and no others."""

    # Factories, so that OpenAPI shows no defaults: what is not there was not asked for.
    day: date = Field(default_factory=lambda: date.min)
    key: KeyId = Field(default_factory=str)
    model: str | None = Field(default_factory=lambda: None)
    tag: str | None = Field(default_factory=lambda: None)
    customer: str | None = Field(default_factory=lambda: None)
    overlapping: bool = Field(
        default_factory=bool, description="with `tag`: a job counts under each of its tags"
    )


class UsageReport(Shape):
    """What was spent in a time."""

    object: Literal["usage"]
    from_: datetime = Field(alias="from")
    to: datetime
    tz: str
    group_by: list[Literal["day", "key", "model", "tag", "customer"]]
    data: list[UsageRow]
    totals: Sums


class LedgerLine(Cost):
    """A booking; `made_at` is when the provider says that it charged, where its ledger was asked."""

    at: datetime
    made_at: datetime | None
    job: JobId
    attempt: int
    kind: LedgerKind
    key: KeyId
    customer: str | None
    inference_id: str | None
    reference: str


class LedgerPage(Page):
    """Bookings, the newest first."""

    data: list[LedgerLine]


class QuotedPrice(Cost):
    """The price of an image: the catalog's, or what the provider took lately."""

    per: Literal["image"]
    source: Literal["catalog", "provider"]


class Quote(Shape):
    """What a job would hold, and the most that it could cost."""

    object: Literal["quote"]
    model: str
    price: QuotedPrice
    estimated: Cost
    worst_case: Cost
    max_attempts: int
    max_cost: Credits
