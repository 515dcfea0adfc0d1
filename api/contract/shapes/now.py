"""How things stand for one project."""

from datetime import datetime
from typing import Literal

from api.contract.shapes.money import Budget
from api.contract.shapes.parts import Cost, Shape
from api.contract.shapes.state import StateBooks, StateWallet
from models.states import WaitingReason


class NowMinute(Shape):
    """Jobs that were accepted, started and ended within a minute; up to 2,000 of each are counted."""

    at: datetime
    accepted: int
    started: int
    succeeded: int
    failed: int
    canceled: int
    expired: int
    at_least: bool


class NowReason(Shape):
    """How many jobs wait for one reason, and how long the oldest of them has."""

    reason: WaitingReason
    jobs: int
    oldest_seconds: float


class NowWaiting(Shape):
    """What waits; up to 10,000 jobs are looked at, and `at_least` says that there are more."""

    jobs: int
    at_least: bool
    oldest_seconds: float
    dispatched: int
    reasons: list[NowReason]


class NowLimit(Shape):
    """How many calls the provider admits at once, and how many are in flight; of all projects together."""

    calls: int
    in_flight: int


class NowUnknown(Shape):
    """Lost calls whose charge is not known yet, what is held for them, and how many are overdue."""

    calls: int
    overdue: int
    held: Cost | None


class NowToday(Shape):
    """What was charged and made since midnight."""

    since: datetime
    charged: Cost
    pictures: int


class NowNeed(Shape):
    """Something to see to, and the path of the API that says more."""

    code: str
    message: str
    see: str | None


class Now(Shape):
    """How things stand. What the key may not know is null: money; wallet and books are the operator's."""

    object: Literal["now"]
    at: datetime
    message: str
    flow: list[NowMinute]
    waiting: NowWaiting
    running: int
    provider_limit: NowLimit
    unknown_charges: NowUnknown
    today: NowToday | None
    budgets: list[Budget] | None
    wallet: StateWallet | None
    books: StateBooks | None
    attention: list[NowNeed]
