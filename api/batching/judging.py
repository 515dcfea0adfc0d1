"""Judging the rows of a batch, one by one, and writing them down as Postgres takes them: a line each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO

from pydantic import ValidationError
from pydantic_core import to_json

from api.batching import formats
from api.batching.formats import Kind, Raw, Read
from api.contract.formats.field_errors import field_error
from api.contract.requests.batches import ROWS_MAX, BatchHead, Row
from models import ids
from models.errors import EgressRefused, FieldError, InvalidRequest
from models.platform.addresses import Network, check_url
from models.provider import catalog

_ERRORS_MAX = 100  # that are told
_NO_INLINE = (
    "a row of a batch brings no picture along; give its https:// URL, or submit the row as a job"
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What rows are judged by: what they have in common, prices, and which addresses may be reached."""

    kind: Kind
    defaults: Raw
    prices: Mapping[str, int]
    opened: tuple[Network, ...]
    ports: frozenset[int]
    now: datetime
    max_cost: int | None = None


@dataclass(slots=True)
class Report:
    """What became of the rows: how many are good, what they hold by customer, and the first errors.

    `estimated` is what one call for each of them costs; more than is held, where a `max_cost` is less.
    """

    total: int = 0
    bad: int = 0
    estimated: int = 0
    held: dict[str | None, int] = field(default_factory=dict)
    errors: list[FieldError] = field(default_factory=list)
    head: BatchHead = field(default_factory=BatchHead)


def judge(body: IO[bytes], terms: Terms, out: IO[bytes]) -> Iterator[Report]:
    """Judge every row, and write each good one as a line of JSON; the report grows with each row.

    Raises `MalformedBody`, and `InvalidRequest` where the batch as a whole cannot be.
    """
    head, rows = _open(body, terms)
    judging = _Judging(terms, head)
    yield judging.report
    for number, raw in enumerate(rows, 1):
        if number > ROWS_MAX:
            raise InvalidRequest(
                f"The batch has more than {ROWS_MAX:,} rows; send it in parts.",
                errors=(FieldError("", f"at most {ROWS_MAX:,} rows"),),
            )
        judging.take(number, raw, out)
        yield judging.report
    if not judging.report.total and not judging.report.bad:
        raise InvalidRequest(
            "The batch has no rows.", errors=(FieldError("", "there are no rows"),)
        )


def _open(body: IO[bytes], terms: Terms) -> tuple[BatchHead, Iterator[Read]]:
    if terms.kind == "ndjson":
        return BatchHead(), formats.lines(body)
    if terms.kind == "csv":
        return BatchHead(), formats.table(body)
    said, items = formats.members(body)
    try:
        head = BatchHead.model_validate(said)
    except ValidationError as wrong:
        errors = _errors(wrong)
        raise InvalidRequest("The batch cannot be made so.", errors=tuple(errors)) from None
    if head.webhook is not None and (problem := _unreachable(head.webhook.url, terms)):
        raise EgressRefused(problem, errors=(FieldError("/webhook/url", problem),))
    return head, iter(items)


class _Judging:
    """The rows of one batch: their names, and the money that is left of its `max_cost`."""

    def __init__(self, terms: Terms, head: BatchHead) -> None:
        self.report = Report(head=head)
        self._terms = terms
        self._common = _merged(terms.defaults, head.defaults)
        self._left = terms.max_cost if terms.max_cost is not None else head.max_cost
        self._names: set[str] = set()

    def take(self, number: int, raw: Read, out: IO[bytes]) -> None:
        """Judge a row; write it down, or what is wrong with it."""
        errors: list[FieldError] = []
        line = None if isinstance(raw, FieldError) else self._line(number, raw, errors)
        if line is not None:
            out.write(to_json(line) + b"\n")
            return
        self.report.bad += 1
        said = raw if isinstance(raw, dict) else {}
        name = said.get("custom_id")
        for each in [raw] if isinstance(raw, FieldError) else errors:
            if len(self.report.errors) < _ERRORS_MAX:
                of_row = FieldError(
                    each.pointer,
                    each.message,
                    number,
                    name[:128] if isinstance(name, str) else None,
                )
                self.report.errors.append(of_row)

    def _line(self, number: int, raw: Raw, errors: list[FieldError]) -> Raw | None:
        merged = _merged(self._common, raw)
        try:
            row = Row.model_validate(merged)
        except ValidationError as wrong:
            errors += _errors(wrong)
            row = None
        checked = self._input(merged.get("input"), errors)
        if row is None or checked is None:
            return None
        name = row.custom_id or str(number)
        price = self._terms.prices.get(checked.model.id, checked.model.price)
        if price is None or checked.model.retired is not None:
            errors.append(catalog.uncallable(checked.model))
            return None
        errors += self._beside(row, name, price)
        if errors:
            return None
        self._names.add(name)
        return self._written(number, name, row, checked, price)

    def _input(self, given: object, errors: list[FieldError]) -> catalog.Checked | None:
        if given is None:
            return None  # Pydantic has said that it is missing
        try:
            checked = catalog.check(given, self._terms.opened)
        except InvalidRequest as wrong:
            errors += wrong.errors
            return None
        errors += [
            FieldError(f"{catalog.AT}/image_urls/{each.index}", _NO_INLINE)
            for each in checked.inline
        ]
        return checked

    def _beside(self, row: Row, name: str, price: int) -> Iterator[FieldError]:
        if name in self._names:
            yield FieldError("/custom_id", f"{name!r} is another row's; each is there once")
        if row.webhook is not None and (problem := _unreachable(row.webhook.url, self._terms)):
            yield FieldError("/webhook/url", problem)
        if row.deadline is not None and row.deadline <= self._terms.now:
            yield FieldError("/deadline", "it has passed; give a later one, or none")
        if row.max_cost is not None and row.max_cost < price:
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
            "id": str(ids.new()),
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


def _errors(wrong: ValidationError) -> list[FieldError]:
    found = wrong.errors(include_url=False, include_context=False)
    return [field_error({**each, "loc": ("body", *each["loc"])}) for each in found]


def _unreachable(url: str, terms: Terms) -> str | None:
    try:
        check_url(url, exceptions=terms.opened, ports=terms.ports)
    except EgressRefused as refused:
        return refused.detail
    return None
