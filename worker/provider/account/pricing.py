"""A model's price for one image, out of the provider's catalogue."""

from collections.abc import Iterator
from decimal import Decimal

from worker.provider import credits as money

# What "one image" is called in `per` or `unit`. Absent, the price is per request.
_ONE_IMAGE = ("image", "generation", "request", "call")


def of_model(body: object, model: str) -> int | None:
    """Return the credits for one image of `model` (an id or an alias), from `GET /v1/models`.

    None when the model is absent, or its price cannot be told ahead: variants that differ, a price
    per token, another currency. Raises ValueError when the body is not a catalogue.
    """
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise ValueError("data is not a list")  # noqa: TRY004 -- the sender's mistake, not a caller's type
    for entry in data:
        if isinstance(entry, dict) and _is(entry, model):
            return _per_image(entry.get("pricing"))
    return None


def _is(entry: dict[str, object], model: str) -> bool:
    aliases = entry.get("aliases")
    return entry.get("id") == model or (isinstance(aliases, list) and model in aliases)


def _per_image(pricing: object) -> int | None:
    if not isinstance(pricing, dict) or pricing.get("currency", "USD") not in {"USD", "CREDITS"}:
        return None
    in_credits = pricing.get("currency") == "CREDITS"
    rates = set(_rates(pricing))
    # One price, or none: guessing among several would hold the wrong amount.
    if len(rates) != 1:
        return None
    rate = rates.pop()
    return money.whole(rate) if in_credits else money.from_usd(rate)


def _rates(pricing: dict[str, object]) -> Iterator[Decimal | None]:
    if pricing.get("kind") == "variable":
        return
    for group in ("units", "variants"):
        listed = pricing.get(group)
        for each in listed if isinstance(listed, list) else []:
            if isinstance(each, dict):
                yield _rate(each)


def _rate(unit: dict[str, object]) -> Decimal | None:
    price, per = money.exact(unit.get("price")), unit.get("per", 1)
    count = money.exact(per)
    named = unit.get("unit", "") if count is not None else per
    if price is None or not isinstance(named, str) or "token" in named.lower():
        return None
    if named and not any(word in named.lower() for word in _ONE_IMAGE):
        return None
    return price / count if count else (price if count is None else None)
