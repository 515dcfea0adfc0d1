"""Judging the rows of a batch, one by one, and writing them down as Postgres takes them: a line each."""

import re
from collections.abc import Iterator
from typing import IO

from pydantic import ValidationError
from pydantic_core import to_json

from api.batching.formats import Raw
from api.batching.terms import ERRORS_MAX, Report, Terms
from api.contract.formats.field_errors import field_error
from api.contract.requests.batches import BatchHead, Row
from models import ids
from models.errors import EgressRefused, FieldError, InvalidRequest
from models.platform.addresses import check_url
from models.platform.wording import printable, shown
from models.provider import catalog

_AS_A_JOB = "give its https:// URL, or submit it as a single job"
_NO_INLINE = f"a row of a batch cannot carry a picture; {_AS_A_JOB}"
_NO_NAMES = f"a row of a batch cannot name a picture that is kept here; {_AS_A_JOB}"
_KEPT = re.compile(r"(file|job)_")


class Rows:
    """The rows of one batch: their names, and the money that is left of its `max_cost`."""

    def __init__(self, terms: Terms, head: BatchHead) -> None:
        self.report = Report(head=head)
        self._terms = terms
        self._common = _merged(terms.defaults, head.defaults)
        self._left = terms.max_cost if terms.max_cost is not None else head.max_cost
        self._names: dict[str, int] = {}  # and the row that has each

    def take(self, number: int, raw: Raw | FieldError, out: IO[bytes]) -> None:
        """Judge a row; write it down, or all that is wrong with it."""
        errors: list[FieldError] = []
        if isinstance(raw, FieldError):
            self._refuse(number, None, [raw])
        elif (line := self._line(number, raw, errors)) is not None:
            out.write(to_json(line) + b"\n")
        else:
            self._refuse(number, raw.get("custom_id"), errors)

    def _refuse(self, number: int, name: object, errors: list[FieldError]) -> None:
        self.report.bad += 1
        called = printable(name, 128) if isinstance(name, str) else None
        room = ERRORS_MAX - len(self.report.errors)
        self.report.errors += [
            FieldError(each.pointer, each.message, number, called) for each in errors[:room]
        ]

    def _line(self, number: int, raw: Raw, errors: list[FieldError]) -> Raw | None:
        merged = _merged(self._common, raw)
        name = self._name(number, merged.get("custom_id"), errors)
        try:
            row = Row.model_validate(merged)
        except ValidationError as wrong:
            errors += errors_of(wrong)
            row = None
        checked = self._input(merged.get("input"), errors)
        price = None if checked is None else self._price(checked, errors)
        if row is not None:
            errors += self._beside(row, price)
        if errors or row is None or checked is None or price is None:
            return None
        return self._written(number, name, row, checked, price)

    def _name(self, number: int, said: object, errors: list[FieldError]) -> str:
        """Name a row, by its number where it says nothing; each name is there once, also among bad rows."""
        name = said if isinstance(said, str) and said else str(number)
        if (first := self._names.setdefault(name, number)) != number:
            message = f"{shown(name)} is the name of row {first} already; give each row its own"
            errors.append(FieldError("/custom_id", message))
        return name

    def _price(self, checked: catalog.Checked, errors: list[FieldError]) -> int | None:
        model, known = checked.model, self._terms.prices.get(checked.model.id)
        price = catalog.estimate(model, checked.input) if known is None else known.of(checked.input)
        if price is None or model.retired is not None:
            errors.append(catalog.uncallable(model))
            return None
        return price

    def _input(self, given: object, errors: list[FieldError]) -> catalog.Checked | None:
        if given is None:
            return None  # Pydantic has said that it is missing
        named = _names(given)
        errors += [FieldError(f"{catalog.AT}/image_urls/{each}", _NO_NAMES) for each in named]
        try:
            checked = catalog.check(given, self._terms.opened, named)
        except InvalidRequest as wrong:
            errors += wrong.errors
            return None
        errors += [
            FieldError(f"{catalog.AT}/image_urls/{each.index}", _NO_INLINE)
            for each in checked.inline
        ]
        return checked

    def _beside(self, row: Row, price: int | None) -> Iterator[FieldError]:
        if row.webhook is not None and (problem := unreachable(row.webhook.url, self._terms)):
            yield FieldError("/webhook/url", problem)
        if row.deadline is not None and row.deadline <= self._terms.now:
            yield FieldError("/deadline", "it has passed; give a later one, or none")
        if row.max_cost is not None and price is not None and row.max_cost < price:
            yield FieldError(
                "/max_cost",
                f"{row.max_cost} credits do not pay for one attempt, which costs {price}",
            )

    def _written(
        self, number: int, name: str, row: Row, checked: catalog.Checked, price: int
    ) -> Raw:
        """Write a good row; it holds the price of a call while that is within what the batch may cost."""
        report = self.report
        held = price if self._left is None or price <= self._left else 0
        if self._left is not None:
            self._left = self._left - held if held else 0  # a later, cheaper row does not overtake
        report.total += 1
        report.estimated += price
        report.held[row.customer] = report.held.get(row.customer, 0) + held
        webhook = row.webhook
        line: Raw = {
            "id": ids.new().hex,
            "row": number,
            "custom_id": name,
            "held": held,
            "model": checked.model.id,
            "input": checked.input,
            "input_hash": catalog.fingerprint(checked.model, checked.input).hex(),
            "estimate": price,
            "large": checked.large,
            "priority": row.priority,
            "queue_ttl": row.queue_ttl,
            "max_attempts": row.max_attempts,
            "max_cost": 2 * price if row.max_cost is None else row.max_cost,
            "on_unknown_charge": row.on_unknown_charge,
        }
        more: Raw = {
            "tags": row.tags or None,
            "metadata": row.metadata or None,
            "customer": row.customer,
            "concurrency_key": row.concurrency_key,
            "webhook_url": webhook and webhook.url,
            "webhook_events": webhook and webhook.events,
            "deadline": row.deadline and row.deadline.isoformat(),
        }
        return line | {name: value for name, value in more.items() if value is not None}


def _merged(common: Raw, row: Raw) -> Raw:
    """Put a row over what all have in common: `input` and `metadata` field by field."""
    merged = {**common, **row}
    for name in ("input", "metadata"):
        below, above = common.get(name), row.get(name)
        if isinstance(below, dict) and isinstance(above, dict):
            merged[name] = {**below, **above}
    return merged


def _names(given: object) -> list[int]:
    """Return where, among the references of an input, a picture is named that is kept here."""
    urls = given.get("image_urls") if isinstance(given, dict) else None
    listed = enumerate(urls) if isinstance(urls, list) else ()
    return [at for at, url in listed if isinstance(url, str) and _KEPT.match(url)]


def errors_of(wrong: ValidationError) -> list[FieldError]:
    """Write what Pydantic says of a body."""
    found = wrong.errors(include_url=False, include_context=False)
    return [field_error({**each, "loc": ("body", *each["loc"])}) for each in found]


def unreachable(url: str, terms: Terms) -> str | None:
    """Return why a webhook's URL cannot be reached; None when it may be."""
    try:
        check_url(url, exceptions=terms.opened, ports=terms.ports)
    except EgressRefused as refused:
        return refused.detail
    return None
