"""Asks the provider's pricing route what the models of the catalog cost."""

from functools import partial

import structlog

from models.money import prices
from models.provider import catalog
from worker.dispatcher.account.accounting import AccountReader, reserve_request
from worker.dispatcher.rows import each_alone
from worker.provider import AccountUnavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def run(reader: AccountReader) -> bool:
    """Ask for every price once; always False. What nobody quotes keeps the price it has.

    An answer that has not changed is written again all the same, for it replaces what charges have taught.
    """
    if not await reserve_request(reader, "prices"):
        return False
    known, models = reader.quoted, [model.id for model in catalog.models()]
    try:
        news = await reader.provider.account.quotes(models, known.etag)
    except AccountUnavailable as failed:
        log.warning("price.not_read", reason=str(failed))
        return False
    if news is not None:
        known.quotes, known.etag = news
        log.info("price.quotes", models=len(known.quotes), without=len(models) - len(known.quotes))
    for model, quote in known.quotes.items():
        write = partial(
            prices.quote, model_id=model, credits_=quote.credits, variants=quote.variants
        )
        await each_alone(reader.dispatcher, "prices", write)
    return False
