"""What crosses the wire inwards about budgets: a limit, and the time zone of its windows."""

from typing import Annotated, Self
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, model_validator

from api.contract.requests.parts import Customer, Strict
from models import ids
from models.money.budgets import Rule
from models.states import BudgetMode, BudgetScope, BudgetWindowKind

NO_KEY = UUID(int=0)
# Read once, for it walks a folder of 1,800 files. `localtime` is this machine's own, and no IANA name.
_ZONES = available_timezones() - {"localtime"}


def _zone(name: str) -> str:
    if name not in _ZONES:
        raise ValueError("there is no such time zone; use an IANA name, such as Europe/Berlin")
    return name


Zone = Annotated[str, Field(max_length=64), AfterValidator(_zone)]


class BudgetBody(Strict):
    """A limit on spent and held credits; one per scope (and its key or customer) and window."""

    scope: BudgetScope = "project"
    key_id: Annotated[str, Field(max_length=64)] | None = None
    customer: Customer | None = None
    window: BudgetWindowKind
    timezone: Zone = "UTC"
    limit: Annotated[int, Field(ge=0, le=1 << 53)]
    mode: BudgetMode = "hard"

    @model_validator(mode="after")
    def _names_what_it_is_on(self) -> Self:
        if (self.scope == "key") != (self.key_id is not None):
            raise ValueError("a budget with the scope 'key' needs key_id, and no other has one")
        if (self.scope == "customer") != (self.customer is not None):
            raise ValueError(
                "a budget with the scope 'customer' needs customer, and no other has one"
            )
        return self

    @property
    def rule(self) -> Rule:
        """The rule this asks for; an id that is none of ours names no key."""
        return Rule(
            scope=self.scope,
            window=self.window,
            timezone=self.timezone,
            limit=self.limit,
            mode=self.mode,
            key_id=None if self.key_id is None else ids.parse(ids.KEY, self.key_id) or NO_KEY,
            customer=self.customer,
        )
