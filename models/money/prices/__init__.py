"""Prices: what one image of a model costs at present, in credits.

The published price is what the provider's pricing route quotes, and until it does the catalog's. A hold is
never less. What an answer tells is believed at once when it is what was held, what charges have taught, or
within a tenth of the published price: that is rounding, or a small change. Anything else, and 0, may be a
mistake in writing: then the charge is unknown until the provider's log or ledger settles it, and an honest
new price settles there.

Settled charges teach a price when three of three jobs agree, with no other between them that differed from
its hold. One alone may be an accident, and so may all of one job's; each is booked as it was settled
whatever the price is, so waiting for three costs nothing. Three answers that agree can move the price by a
tenth at most, for only the provider's own books settle more. The next quote replaces what was taught.
"""

from models.money.prices.allowing import allow
from models.money.prices.knowing import callable_models, current, dearest, known, present
from models.money.prices.learning import Drift, drifts, observe
from models.money.prices.price_list import PriceList
from models.money.prices.quoting import quote
from models.money.prices.tariffs import DEAREST, PLAUSIBLE, PRESENT, listed
from models.provider.rates import Known, Variant

__all__ = [
    "DEAREST",
    "PLAUSIBLE",
    "PRESENT",
    "Drift",
    "Known",
    "PriceList",
    "Variant",
    "allow",
    "callable_models",
    "current",
    "dearest",
    "drifts",
    "known",
    "listed",
    "observe",
    "present",
    "quote",
]
