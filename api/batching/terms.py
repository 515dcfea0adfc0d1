"""What the rows of a batch are judged by, and what became of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from api.batching.formats import Kind, Raw
from api.contract.requests.batches import BatchHead
from models.errors import FieldError
from models.platform.addresses import Network
from models.provider.rates import Known

ERRORS_MAX = 100  # that are told


@dataclass(frozen=True, slots=True)
class Terms:
    """What rows are judged by: prices, which addresses may be reached, and what the query says of them.

    `defaults` are what rows have in common, and of `max_cost` and `stop_after` the batch has one too.
    """

    kind: Kind
    defaults: Raw
    prices: Mapping[str, Known]
    opened: tuple[Network, ...]
    ports: frozenset[int]
    now: datetime
    max_cost: int | None = None
    stop_after: int | None = None


@dataclass(slots=True)
class Report:
    """What became of the rows: how many are good, what they hold by customer, and the first errors.

    `estimated` is what one call for each of them costs; more than is held, where a `max_cost` is less.
    """

    total: int = 0
    bad: int = 0
    estimated: int = 0
    held: dict[str | None, int] = field(default_factory=dict)
    errors: list[FieldError] = field(default_factory=list)
    head: BatchHead = field(default_factory=BatchHead)
