"""Asks the provider's pricing route what each model of the catalog costs."""

from functools import partial

import structlog

from models.money import prices
from models.provider import catalog
from worker.dispatcher.account.accounting import AccountReader, reserve_request
from worker.dispatcher.rows import each_alone
from worker.provider import AccountUnavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def run(reader: AccountReader) -> bool:
    """Ask for every price once; always False. What nobody quotes keeps the price it has."""
    for model in catalog.models():
        if not await reserve_request(reader, "prices"):
            return False
        try:
            quoted = await reader.provider.account.price(model.id)
        except AccountUnavailable as failed:
            log.warning("price.not_read", model=model.id, reason=str(failed))
            continue
        if quoted is None:
            log.info("price.not_quoted", model=model.id)
            continue
        await each_alone(
            reader.dispatcher, "prices", partial(prices.quote, model_id=model.id, credits_=quoted)
        )
    return False
