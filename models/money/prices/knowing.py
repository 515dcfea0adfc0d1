"""What is known of prices at present: published by the provider, taught by its charges."""

from sqlalchemy import select, text

from models.money.prices.tariffs import DEAREST, is_listed, listed, of_row
from models.platform.db import Transaction
from models.platform.db.statements import Reader, attributes, loaded, prepared
from models.provider import catalog
from models.provider.rates import Known
from models.schema import Price


async def known(tx: Transaction, model_id: str) -> Known:
    """Return what is known of a model's price."""
    row = await tx.scalar(select(Price).where(Price.model == model_id))
    return of_row(model_id, row)


async def current(tx: Transaction, model_id: str) -> int | None:
    """Return the price that the provider has told or charges have taught; None while neither has."""
    row = await tx.scalar(select(Price).where(Price.model == model_id))
    return None if row is None or not _learnt(row) else of_row(model_id, row).present


async def present(tx: Reader) -> dict[str, int]:
    """Return the price of every model of the catalog that has one: as learned, else as published.

    Where it depends on the input, the dearest.
    """
    return {model: each.present for model, each in (await callable_models(tx)).items()}


async def callable_models(tx: Reader) -> dict[str, Known]:
    """Return what is known of the price of every model of the catalog that can be called."""
    learned, found = await learned_prices(tx), dict[str, Known]()
    for model in catalog.models():
        if model.retired is None and (model.id in learned or model.price is not None):
            found[model.id] = learned.get(model.id) or Known(model.price or 0)
    return found


async def dearest(tx: Reader) -> int:
    """Return the price of the dearest model: a wallet that has less cannot pay for every job."""
    (row,) = await tx.read(_DEAREST, {"listed": listed()})
    return int(row["credits"])


async def learned_prices(tx: Reader) -> dict[str, Known]:
    """Return what was quoted, taught or allowed, by model; not the prices of the catalog alone."""
    rows = [loaded(Price, row) for row in await tx.read(_LEARNED, {})]
    # What only charges have taught is no published price: it comes of calls that one had allowed.
    told = (
        row
        for row in rows
        if row.quoted is not None or row.allowance is not None or is_listed(row.model)
    )
    return {row.model: of_row(row.model, row) for row in told}


def _learnt(row: Price) -> bool:
    return row.quoted is not None or row.taught is not None


_DEAREST = prepared(text(f"SELECT {DEAREST} AS credits"))
_LEARNED = prepared(select(*attributes(Price)))
