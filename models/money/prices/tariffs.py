"""Tariffs: what `prices` has of each model, and what the catalog says of those that it has none of."""

from collections.abc import Mapping, Sequence

from models.provider import catalog
from models.provider.rates import Known, Variant
from models.schema import Price

# Credits, $0.0005 to $10. What is beyond is booked where it was charged, and is no price.
PLAUSIBLE = range(1_000, 20_000_001)


def of_row(model_id: str, row: Price | None) -> Known:
    """Return what a row of `prices` and the catalog say of a model."""
    if row is None:
        return Known(listed_price(model_id, 0))
    if row.quoted is not None:
        return Known(row.quoted, row.taught, _variants(row))
    published = listed_price(model_id, row.allowance or row.credits)
    return Known(published, row.taught, allowance=None if is_listed(model_id) else row.allowance)


def defaulted(model_id: str, variants: Sequence[Variant]) -> list[Variant]:
    """Add to variants that name a field's default what they cost where that field is left out.

    Not to the dearest: that is what is held for an input that names none of them anyway.
    """
    model = catalog.find(model_id)
    fields = {} if model is None else model.schema["properties"]
    rules: Mapping[str, Mapping[str, object]] = fields if isinstance(fields, dict) else {}
    added, dearest = list[Variant](), max((each.credits for each in variants), default=0)
    for each in variants:
        rest = {
            name: value
            for name, value in each.when.items()
            if rules.get(name, {}).get("default") != value
        }
        if rest != each.when and each.credits < dearest:
            added.append(Variant(rest, each.credits))
    return [*variants, *added]


def listed() -> dict[str, object]:
    """Return the catalog's own prices, None for none, for `PRESENT` and `DEAREST`."""
    return {model.id: model.price for model in catalog.models()}


def listed_price(model_id: str, otherwise: int) -> int:
    """Return the catalog's price; `otherwise` for a model that it has no more, or no price of."""
    model = catalog.find(model_id)
    return otherwise if model is None or model.price is None else model.price


def is_listed(model_id: str) -> bool:
    """Return whether the catalog has a price of a model, or knows nothing of it."""
    model = catalog.find(model_id)
    return model is None or model.price is not None


def _variants(row: Price) -> tuple[Variant, ...]:
    told = row.variants or []
    return tuple(
        Variant(when, credits_)
        for each in told
        if isinstance(when := each.get("when"), dict)
        and isinstance(credits_ := each.get("credits"), int)
    )


_PRESENT = """(
    SELECT greatest(coalesce({fitting}p.quoted, l.price, p.allowance), p.taught, 0)
      FROM (SELECT CAST(CAST(:listed AS jsonb) ->> jobs.model AS bigint) AS price) l
      LEFT JOIN prices p ON p.model = jobs.model
)"""

# `Known.of` for a row of `jobs`, in a statement that is given `listed`.
PRESENT = _PRESENT.format(
    fitting="""(
        SELECT max(CAST(v ->> 'credits' AS bigint)) FROM jsonb_array_elements(p.variants) v
         WHERE p.quoted IS NOT NULL AND jobs.input @> (v -> 'when')), """
)

# The same of the dearest model of the catalog.
DEAREST = f"""(
    SELECT max({_PRESENT.format(fitting="")}) FROM jsonb_object_keys(CAST(:listed AS jsonb)) AS jobs (model)
)"""  # noqa: S608 - ours
