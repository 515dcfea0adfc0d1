"""Money as the provider writes it, in whole credits."""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

# The provider's own rate, as in the examples of its log's schema ($0.25 = 500,000 credits).
PER_USD = 2_000_000
# Half a billion dollars for one image is a mistake in writing, not a price.
_MOST = 10**15


def told(headers: Mapping[str, str], body: object) -> int | None:
    """Return what an answer says that it cost, headers before body; None when it does not say.

    `headers` has lower-case names. `credits_used` is what the schema promises; the others were
    seen on the same route for other models.
    """
    usage = _usage(body)
    return next(
        (
            found
            for found in (
                whole(headers.get("x-aimlapi-credits-used")),
                from_usd(headers.get("x-aimlapi-usd-spent")),
                whole(usage.get("credits_used")),
                from_usd(usage.get("usd_spent")),
                whole(usage.get("tokens_used")),
            )
            if found is not None
        ),
        None,
    )


def whole(value: object) -> int | None:
    """Read a number of credits; None for anything that is not one (negative, NaN, text)."""
    number = exact(value)
    return None if number is None else int(number.to_integral_value(ROUND_HALF_UP))


def from_usd(value: object) -> int | None:
    """Read an amount of US dollars as credits; None for anything that is not one."""
    number = exact(value)
    return None if number is None else whole(number * PER_USD)


def exact(value: object) -> Decimal | None:
    """Read a non-negative number, written as one or as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value).strip())
    except (InvalidOperation, ValueError):  # ValueError: an int of over 4,300 digits
        return None
    return number if number.is_finite() and 0 <= number <= _MOST else None


def _usage(body: object) -> dict[str, object]:
    # `meta` and `meta.usage` are both nullable; `usd_spent` was seen in either.
    meta = body.get("meta") if isinstance(body, dict) else None
    if not isinstance(meta, dict):
        return {}
    usage = meta.get("usage")
    return {**meta, **usage} if isinstance(usage, dict) else meta
