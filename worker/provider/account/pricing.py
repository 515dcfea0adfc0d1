"""A model's price for one image, out of the provider's catalogue (its page "Model Catalogue API").

`fixed` is one rate, in `units`; `variants` is a rate for each combination of the fields that `dimensions`
names, as `{"when": {"resolution": "2K"}, "price": …, "unit": …, "per": …}`; `variable` cannot be told
ahead.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from models.money.prices import Variant
from worker.provider import credits as money

# What "one image" is called in `per` or `unit`. Absent, the price is per request.
_ONE_IMAGE = ("image", "generation", "request", "call")
# An id occurs once for each type of endpoint it is served through; ours is that of generations.
_OTHER = re.compile(r"edit|variation|video|chat|upscal", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Quote:
    """What an image costs, in credits: of `variants`, if there are some, `credits` is the dearest."""

    credits: int
    variants: tuple[Variant, ...] = ()


def of_models(body: object, models: Iterable[str]) -> dict[str, Quote]:
    """Return what each model (an id or an alias) costs that has a price, from `GET /v1/models`.

    Left out is what is absent, or whose price cannot be told ahead: per token or megapixel, in another
    currency, a price of nothing. Raises ValueError when the body is not a catalogue.
    """
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise ValueError("data is not a list")  # noqa: TRY004 -- the sender's mistake, not a caller's type
    entries = {name: entry for entry in reversed(data) for name in _names(entry)}
    quotes = ((model, _quote(entries.get(model))) for model in models)
    return {model: quote for model, quote in quotes if quote is not None}


def _names(entry: object) -> Iterator[str]:
    if not isinstance(entry, dict) or not _makes_images(entry.get("type")):
        return
    aliases = entry.get("aliases")
    for name in (entry.get("id"), *(aliases if isinstance(aliases, list) else [])):
        if isinstance(name, str):
            yield name


def _makes_images(kind: object) -> bool:
    return kind is None or (
        isinstance(kind, str) and "image" in kind.lower() and not _OTHER.search(kind)
    )


def _quote(entry: object) -> Quote | None:
    pricing = entry.get("pricing") if isinstance(entry, dict) else None
    if not isinstance(pricing, dict) or pricing.get("currency", "USD") not in {"USD", "CREDITS"}:
        return None
    in_credits = pricing.get("currency") == "CREDITS"
    if pricing.get("kind") == "variants":
        return _of_variants(pricing.get("variants"), in_credits=in_credits)
    rates = set(_rates(pricing, in_credits=in_credits))
    # One price, or none: guessing among several would hold the wrong amount.
    rate = rates.pop() if len(rates) == 1 else None
    return Quote(rate) if rate else None


def _of_variants(listed: object, *, in_credits: bool) -> Quote | None:
    variants = list[Variant]()
    for each in listed if isinstance(listed, list) else []:
        when = each.get("when") if isinstance(each, dict) else None
        rate = _rate(each, in_credits=in_credits) if isinstance(each, dict) else None
        if not rate:
            return None  # one that cannot be told may be the dearest
        variants.append(Variant(when if isinstance(when, dict) else {}, rate))
    return Quote(max(each.credits for each in variants), tuple(variants)) if variants else None


def _rates(pricing: dict[str, object], *, in_credits: bool) -> Iterator[int | None]:
    if pricing.get("kind") == "variable":
        return
    for group in ("units", "variants"):
        listed = pricing.get(group)
        for each in listed if isinstance(listed, list) else []:
            if isinstance(each, dict):
                yield _rate(each, in_credits=in_credits)


def _rate(unit: dict[str, object], *, in_credits: bool) -> int | None:
    rate = _exact(unit)
    if rate is None:
        return None
    return money.whole(rate) if in_credits else money.from_usd(rate)


def _exact(unit: dict[str, object]) -> Decimal | None:
    price, per = money.exact(unit.get("price")), unit.get("per", 1)
    count = money.exact(per)
    named = unit.get("unit", "") if count is not None else per
    if price is None or not isinstance(named, str) or "token" in named.lower():
        return None
    if named and not any(word in named.lower() for word in _ONE_IMAGE):
        return None
    return price / count if count else (price if count is None else None)
