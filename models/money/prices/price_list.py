"""The prices as one process knows them: read every few seconds, and before one is said to be missing."""

import time
from collections.abc import Mapping

from models.errors import ModelUnavailable
from models.money.prices.knowing import learned_prices
from models.platform.db import Database
from models.platform.together import Together
from models.provider import catalog
from models.provider.catalog import Model
from models.provider.rates import Known

_BELIEVED = 5.0  # seconds: what a hold may be behind a new price


class PriceList:
    """What attempts cost at present, as one process has learned within the last five seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reading: Together[None, None] = Together(self._read, most=1)
        self._read_at = float("-inf")
        self._learned: dict[str, Known] = {}

    async def estimate(self, model: Model, given: Mapping[str, object]) -> int:
        """Return the credits that one attempt at this input should cost.

        Raises `Unavailable`, and `ModelUnavailable` for one that cannot be called at present: nobody is
        refused by a list that was read before they asked.
        """
        asked = time.monotonic()
        price = _of(await self.learned(), model, given)
        if price is None and model.retired is None and self._read_at < asked:
            await self._reading.find(None)
            price = _of(self._learned, model, given)
        if price is None or model.retired is not None:
            error = catalog.uncallable(model)
            raise ModelUnavailable(error.message, errors=(error,))
        return price

    async def learned(self) -> Mapping[str, Known]:
        """Return what was told or taught, by model; raises `Unavailable`."""
        if time.monotonic() - self._read_at >= _BELIEVED:
            await self._reading.find(None)
        return self._learned

    async def _read(self, _: object) -> Mapping[None, None]:
        """Read them, once for all who need them meanwhile."""
        began = time.monotonic()
        self._learned = await learned_prices(self._database.direct)
        self._read_at = began
        return {}


def _of(learned: Mapping[str, Known], model: Model, given: Mapping[str, object]) -> int | None:
    known_ = learned.get(model.id)
    return catalog.estimate(model, given) if known_ is None else known_.of(given)
