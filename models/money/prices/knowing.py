"""What is known of prices at present: published by the provider, taught by its charges."""

from dataclasses import dataclass

from sqlalchemy import select, text

from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.provider import catalog
from models.schema import Price

# Credits, $0.0005 to $10. What is beyond is booked where it was charged, and is no price.
PLAUSIBLE = range(1_000, 20_000_001)
_CLOSE = 10  # a told price may differ from the published one by a tenth of it


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model's price: what the provider publishes, and what its charges have taught."""

    published: int
    taught: int | None = None

    @property
    def present(self) -> int:
        """What is held for a call."""
        return max(self.published, self.taught or 0)

    def believes(self, told: int, *, held: int) -> bool:
        """Judge whether an answer's own price may be booked before the provider's books confirm it."""
        close = abs(told - self.published) * _CLOSE <= self.published
        return told > 0 and (close or told in {held, self.taught})


async def known(tx: Transaction, model_id: str) -> Known:
    """Return what is known of a model's price."""
    row = await tx.scalar(select(Price).where(Price.model == model_id))
    return of_row(model_id, row)


async def current(tx: Transaction, model_id: str) -> int | None:
    """Return the price that the provider has told or charges have taught; None while neither has."""
    row = await tx.scalar(select(Price).where(Price.model == model_id))
    return None if row is None or not _learnt(row) else of_row(model_id, row).present


async def present(tx: Transaction) -> dict[str, int]:
    """Return the price of every model of the catalog that has one: as learned, else as published."""
    learned = await learned_prices(tx)
    prices = {model.id: learned.get(model.id, model.price) for model in catalog.models()}
    return {model: price for model, price in prices.items() if price is not None}


async def dearest(tx: Reader) -> int:
    """Return the price of the dearest model: a wallet that has less cannot pay for every job."""
    (row,) = await tx.read(_DEAREST, {"listed": listed()})
    return int(row["credits"])


def listed() -> dict[str, object]:
    """Return the catalog's own prices, None for none, for `PRESENT` and `DEAREST`."""
    return {model.id: model.price for model in catalog.models()}


async def learned_prices(tx: Transaction) -> dict[str, int]:
    """Return the prices that were quoted or taught, by model; not those of the catalog alone."""
    rows = await tx.scalars(select(Price))
    # What only charges have taught is no published price: it comes of calls that one had allowed.
    told = (row for row in rows if row.quoted is not None or _is_listed(row.model))
    return {row.model: of_row(row.model, row).present for row in told}


def of_row(model_id: str, row: Price | None) -> Known:
    """Return what is known of a model by its row, which may be missing."""
    if row is None:
        return Known(listed_price(model_id, 0))
    published = listed_price(model_id, row.credits) if row.quoted is None else row.quoted
    return Known(published, row.taught)


def _learnt(row: Price) -> bool:
    return row.quoted is not None or row.taught is not None


def listed_price(model_id: str, otherwise: int) -> int:
    """Return the catalog's price; `otherwise` for a model that it has no more, or no price of."""
    model = catalog.find(model_id)
    return otherwise if model is None or model.price is None else model.price


def _is_listed(model_id: str) -> bool:
    model = catalog.find(model_id)
    return model is None or model.price is not None


# `Known.present` for a row of `jobs`, in a statement that is given `listed`.
PRESENT = """(
    SELECT greatest(coalesce(p.quoted, l.price), p.taught, 0)
      FROM (SELECT CAST(CAST(:listed AS jsonb) ->> jobs.model AS bigint) AS price) l
      LEFT JOIN prices p ON p.model = jobs.model
)"""

# The same of the dearest model of the catalog.
DEAREST = f"""(
    SELECT max({PRESENT}) FROM jsonb_object_keys(CAST(:listed AS jsonb)) AS jobs (model)
)"""  # noqa: S608 - ours

_DEAREST = prepared(text(f"SELECT {DEAREST} AS credits"))
