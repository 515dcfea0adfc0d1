"""Judging a batch: is it a file of rows, and is each of them good."""

from collections.abc import Iterator
from typing import IO

from pydantic import ValidationError

from api.batching import formats, tables
from api.batching.formats import Raw, Read
from api.batching.rows import Rows, errors_of, unreachable
from api.batching.terms import ERRORS_MAX, Report, Terms
from api.contract.requests.batches import ROWS_MAX, BatchHead, Row
from models.errors import EgressRefused, FieldError, InvalidRequest
from models.platform.wording import pointer_to, shown

_SAVE = 'save it as "CSV UTF-8", and send that'
_TOLD = 5  # mistakes that the sentence repeats
_NO_TEXT = {  # by its first bytes
    b"PK\x03\x04": f"an Excel workbook or another archive; {_SAVE}",
    b"\xd0\xcf\x11\xe0": f"an old Excel workbook; {_SAVE}",
    b"\x1f\x8b": "compressed by gzip; send it as it was before",
    b"\xff\xfe": f"UTF-16; {_SAVE}",
    b"\xfe\xff": f"UTF-16; {_SAVE}",
}


def judge(body: IO[bytes], terms: Terms, out: IO[bytes]) -> Iterator[Report]:
    """Judge every row, and write each good one as a line of JSON; the report grows with each row.

    Raises `MalformedBody`, and `InvalidRequest` where the batch as a whole cannot be.
    """
    _demand_text(body)
    head, rows = _open(body, terms)
    judging = Rows(terms, head)
    yield judging.report
    number, report = 0, judging.report
    try:
        for number, raw in enumerate(rows, 1):
            if raw is not None:
                judging.take(number, raw, out)
            if report.total + report.bad > ROWS_MAX:
                raise _refusal(
                    report, None, f"there are more than {ROWS_MAX:,} rows; send them in parts"
                )
            yield report
    except tables.Unreadable as wrong:
        raise _refusal(report, number + 1, str(wrong)) from None
    if not report.total and not report.bad:
        raise _refusal(report, None, "there are no rows; send one at least")


def _demand_text(body: IO[bytes]) -> None:
    """Raise `InvalidRequest` for a file that is none of the formats, whatever it is called."""
    begins = body.read(4)
    body.seek(0)
    for sign, what in _NO_TEXT.items():
        if begins.startswith(sign):
            raise _refusal(Report(), None, f"the file is {what}")


def _refusal(report: Report, row: int | None, message: str) -> InvalidRequest:
    """Return the refusal of a batch that cannot be read as a whole, beside what is wrong with its rows."""
    errors = (*report.errors[: ERRORS_MAX - 1], FieldError("", message, row))
    return InvalidRequest(f"The batch cannot be read: {message}.", errors=errors)


def _open(body: IO[bytes], terms: Terms) -> tuple[BatchHead, Iterator[Read]]:
    if terms.kind == "ndjson":
        return BatchHead(), formats.lines(body)
    if terms.kind == "csv":
        return BatchHead(), tables.table(body)
    said, items = formats.members(body)
    try:
        head = BatchHead.model_validate(said)
    except ValidationError as wrong:
        errors = errors_of(wrong)
        raise InvalidRequest("The batch cannot be made so.", errors=tuple(errors)) from None
    _demand_meant(head, terms)
    if head.webhook is not None and (problem := unreachable(head.webhook.url, terms)):
        raise EgressRefused(problem, errors=(FieldError("/webhook/url", problem),))
    return head, iter(items)


def _demand_meant(head: BatchHead, terms: Terms) -> None:
    """Raise `InvalidRequest` for what stands beside the items and cannot hold for all of them."""
    errors = [
        FieldError(f"/defaults{each.pointer}", each.message) for each in _of_common(head.defaults)
    ]
    if errors := [*errors, *_said_twice(head, terms)]:
        told = " ".join(f"{each.pointer}: {each.message}." for each in errors[:_TOLD])
        raise InvalidRequest(f"The batch cannot be made so. {told}", errors=tuple(errors))


def _of_common(said: Raw) -> Iterator[FieldError]:
    """Yield what is wrong with `defaults` by themselves, of which each row would be accused."""
    if "custom_id" in said:
        yield FieldError("/custom_id", "it names a single row; give each row its own")
    if not isinstance(said.get("input", {}), dict):
        yield FieldError("/input", f"{shown(said['input'])} is no object; send one of input fields")
    try:
        Row.model_validate({**said, "custom_id": None, "input": {}})
    except ValidationError as wrong:
        yield from errors_of(wrong)


def _said_twice(head: BatchHead, terms: Terms) -> Iterator[FieldError]:
    """Yield what the query says and the body too: one of them would count for nothing, in silence."""
    query, body = terms.defaults, head.defaults
    twice: list[tuple[str, ...]] = [
        ("defaults", name) for name in query if name in body and name != "input"
    ]
    inputs = (each.get("input") for each in (query, body))
    of_query, of_body = (each if isinstance(each, dict) else {} for each in inputs)
    twice += [("defaults", "input", name) for name in of_query if name in of_body]
    if terms.max_cost is not None and head.max_cost is not None:
        twice.append(("max_cost",))
    if terms.stop_after is not None and head.stop_on is not None:
        twice.append(("stop_on",))
    for path in twice:
        yield FieldError(pointer_to(*path), "the query says it too; keep one of them")
