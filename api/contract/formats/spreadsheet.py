"""CSV: rows as they come, a part at a time, in a form that no spreadsheet takes for a formula."""

import csv
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from io import StringIO

from fastapi.responses import StreamingResponse

Row = Mapping[str, object]

_JSON = ("application/json", "application/x-ndjson")
# Full-width forms too: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_WEIGHT = re.compile(r"\s*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)


def wanted(format_: str | None, accept: str) -> bool:
    """Return whether a file is asked for: by `format`, which a link can say too, or else by `Accept`."""
    return preferred(accept, "text/csv") is not None if format_ is None else format_ == "csv"


def preferred(accept: str, *types: str) -> str | None:
    """Return which of these types an `Accept` header (RFC 9110, 12.5.1) prefers, and not JSON to it.

    None where it names none of them: ranges such as `*/*` leave the choice to us, and that is JSON.
    """
    weights = dict(_weighed(each) for each in accept.lower().split(","))
    first = max(types, key=lambda each: weights.get(each, 0))
    weight = weights.get(first, 0)
    return first if weight > 0 and weight >= max(weights.get(each, 0) for each in _JSON) else None


async def stream(
    columns: Sequence[str], parts: AsyncIterator[Sequence[Row]], name: str
) -> StreamingResponse:
    """Answer with a file of that name: a header, then every row (RFC 4180).

    The first part is read before the answer begins, so that what fails at once is still a refusal;
    what fails later breaks the connection, for a file must not look whole when it is not. There is at
    least one part, though it may be empty.
    """
    first = await anext(parts)

    async def written() -> AsyncIterator[str]:
        yield _write(columns, [dict(zip(columns, columns, strict=True)), *first])
        async for part in parts:
            yield _write(columns, part)

    return StreamingResponse(
        written(),
        media_type="text/csv; charset=utf-8; header=present",
        headers={"content-disposition": f'attachment; filename="{name}"', "vary": "Accept"},
    )


def _weighed(range_: str) -> tuple[str, float]:
    name, *parameters = range_.split(";")
    weights = [float(found[1]) for each in parameters if (found := _WEIGHT.fullmatch(each))]
    return name.strip(), weights[0] if weights else 1.0


def _write(columns: Sequence[str], rows: Sequence[Row]) -> str:
    text = StringIO()
    csv.writer(text).writerows([_safe(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def _safe(value: object) -> object:
    """Put an apostrophe before a text that would be calculated; a number stays one."""
    if not isinstance(value, str) or not _FORMULA.match(value) or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"
