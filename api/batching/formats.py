"""The formats of a batch: each yields its rows one at a time, or what is wrong with one."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Literal

from api.contract.formats.strict_json import DECODER, parse
from models.errors import FieldError, InvalidRequest, MalformedBody

Kind = Literal["json", "ndjson", "csv"]
Raw = dict[str, object]
Read = Raw | FieldError

_LINE_MAX = 1024 * 1024  # bytes of a row
_BLANK = re.compile(r"[ \t\r\n]*")
_PIXELS = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_OF_INPUT = ("model", "prompt", "image_size", "image_urls", "seed", "watermark")
_OF_JOB = ("custom_id", "customer", "tags", "priority")
_META = "metadata."


def lines(body: IO[bytes]) -> Iterator[Read]:
    """Read NDJSON: an object per line; blank lines are none."""
    while line := body.readline(_LINE_MAX + 1):
        if len(line) > _LINE_MAX:
            while line and not line.endswith(b"\n"):
                line = body.readline(_LINE_MAX)
            yield FieldError("", f"the line has more than {_LINE_MAX:,} bytes")
        elif line.strip():
            yield _row(line)


def table(body: IO[bytes]) -> Iterator[Read]:
    """Read CSV (RFC 4180) in UTF-8, whose first line names the columns; an empty cell says nothing.

    Raises `InvalidRequest` for a column that there is not, `MalformedBody` for what is no CSV.
    """
    text = io.TextIOWrapper(body, encoding="utf-8-sig", newline="")
    csv.field_size_limit(_LINE_MAX)
    first = text.readline(_LINE_MAX)
    columns = next(csv.reader([first], delimiter=_delimiter(first)), [])
    _demand_columns(columns)
    try:
        for cells in csv.reader(text, delimiter=_delimiter(first), strict=True):
            if any(cells):
                yield _of_cells(columns, cells)
    except csv.Error as wrong:
        raise MalformedBody(f"The body is no CSV: {wrong}.") from None
    except UnicodeDecodeError as wrong:
        raise MalformedBody(f"The body is not UTF-8: {wrong.reason}.") from None
    finally:
        text.detach()


def members(body: IO[bytes]) -> tuple[Raw, "Items"]:
    """Read the JSON of a batch: what stands beside its items, and the items, to be read one by one.

    Raises `MalformedBody`, and `InvalidRequest` where there is no list of items.
    """
    try:
        text = body.read().decode()
    except UnicodeDecodeError as wrong:
        raise MalformedBody(f"The body is not UTF-8: see its byte {wrong.start}.") from None
    head: Raw = {}
    items: Items | None = None
    if not text.startswith("{", _skip(text, 0)):
        _value(text, _skip(text, 0))
        message = "it is no object; send one with a list of items"
        raise InvalidRequest(f"The body: {message}.", errors=(FieldError("", message),))
    at = _expect(text, 0, "{")
    while not text.startswith("}", at):
        name, at = _value(text, at)
        if not isinstance(name, str) or name in head or (name == "items" and items):
            raise MalformedBody(f"The body has {name!r} twice, or where a name should be.")
        at = _expect(text, at, ":")
        if name == "items":
            items = Items(text, _expect(text, at, "["))
            at = items.end()
        else:
            head[name], at = _value(text, at)
        at = _expect(text, at, ",") if text.startswith(",", at) else _at(text, at, "}")
    if _BLANK.fullmatch(text, at + 1) is None:
        raise MalformedBody("The body goes on behind its object.")
    if items is None:
        message = "it is missing; send a list of rows"
        raise InvalidRequest(
            f"The batch has no items: {message}.", errors=(FieldError("/items", message),)
        )
    return head, items


class Items:
    """The items of a batch in JSON: never more than one of them as objects."""

    def __init__(self, text: str, begin: int) -> None:
        self._text = text
        self._begin = begin

    def end(self) -> int:
        """Return where what follows the list begins; raises `MalformedBody` for what is no list."""
        at = self._begin
        for _, at in self._walk():  # noqa: B007 - the last place is what is asked for
            pass
        return _skip(self._text, _at(self._text, at, "]") + 1)

    def __iter__(self) -> Iterator[Read]:
        for item, _ in self._walk():
            yield item if isinstance(item, dict) else FieldError("", "a row is an object")

    def _walk(self) -> Iterator[tuple[object, int]]:
        text, at = self._text, self._begin
        while not text.startswith("]", at):
            item, at = _value(text, at)
            if text.startswith(",", at):
                at = _expect(text, at, ",")
                if text.startswith("]", at):
                    raise MalformedBody("The list of items ends with a comma.")
            else:
                _at(text, at, "]")
            yield item, at


def _value(text: str, at: int) -> tuple[object, int]:
    try:
        value, end = DECODER.raw_decode(text, at)
    except json.JSONDecodeError as wrong:
        place = f"line {wrong.lineno} column {wrong.colno}"
        raise MalformedBody(f"The body is not valid JSON: {wrong.msg} at {place}.") from None
    except RecursionError:
        raise MalformedBody("The body is nested too deeply; no field needs it.") from None
    except ValueError:
        raise MalformedBody("A number in the body has too many digits.") from None
    return value, _skip(text, end)


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return at if blank is None else blank.end()


def _at(text: str, at: int, sign: str) -> int:
    if not text.startswith(sign, at):
        line = text.count("\n", 0, at) + 1
        raise MalformedBody(f"The body is not valid JSON: {sign!r} should stand in line {line}.")
    return at


def _expect(text: str, at: int, sign: str) -> int:
    return _skip(text, _at(text, _skip(text, at), sign) + 1)


def _row(line: bytes) -> Read:
    try:
        read = parse(line)
    except MalformedBody as wrong:
        return FieldError("", wrong.detail)
    return read if isinstance(read, dict) else FieldError("", "a row is an object")


def _delimiter(first: str) -> str:
    """Return what separates cells: spreadsheets write what their language takes for a comma."""
    return next((each for each in (",", ";", "\t") if each in first), ",")


def _demand_columns(columns: Sequence[str]) -> None:
    known = (*_OF_JOB, *_OF_INPUT)
    errors = [
        FieldError(
            f"column:{name}", f"there is no such column; use {', '.join(known)} or metadata.…"
        )
        for name in columns
        if name not in known and not (name.startswith(_META) and name != _META)
    ]
    errors += [
        FieldError(f"column:{name}", "it stands there twice")
        for name in dict.fromkeys(columns)
        if columns.count(name) > 1
    ]
    if not columns:
        errors = [FieldError("", "the first line names the columns, and there is none")]
    if errors:
        raise InvalidRequest("The columns of the CSV cannot be used.", errors=tuple(errors[:20]))


def _of_cells(columns: Sequence[str], cells: Sequence[str]) -> Read:
    if len(cells) > len(columns):
        return FieldError("", f"there are {len(cells)} cells, and {len(columns)} columns")
    named = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
    row: Raw = {name: named[name] for name in _OF_JOB if name in named}
    if tags := named.get("tags"):
        row["tags"] = tags.split()
    row["input"] = _input(named)
    if metadata := {
        name.removeprefix(_META): cell for name, cell in named.items() if name.startswith(_META)
    }:
        row["metadata"] = metadata
    return row


def _input(named: Mapping[str, str]) -> Raw:
    """Write an input as JSON has it; what is none stays a text, and is told as such."""
    made: Raw = {name: named[name] for name in _OF_INPUT if name in named}
    if size := named.get("image_size"):
        made["image_size"] = of_size(size)
    if urls := named.get("image_urls"):
        made["image_urls"] = urls.split()
    if _INTEGER.fullmatch(named.get("seed", "")):
        made["seed"] = int(named["seed"])
    if (mark := named.get("watermark", "").lower()) in {"true", "false"}:
        made["watermark"] = mark == "true"
    return made


def of_size(written: str) -> object:
    """Read a size of pixels, as `2048x1536`; a name stays as it is."""
    pixels = _PIXELS.fullmatch(written)
    return written if pixels is None else {"width": int(pixels[1]), "height": int(pixels[2])}
