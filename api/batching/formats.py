"""JSON and NDJSON: each yields its rows one at a time, or what is wrong with one."""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import IO, Literal

from api.contract.formats.strict_json import DECODER, parse
from models.errors import FieldError, InvalidRequest, MalformedBody
from models.platform.wording import shown

Kind = Literal["json", "ndjson", "csv"]
Raw = dict[str, object]
Read = Raw | FieldError | None  # nothing for a blank line, which counts as a row

ROW_MAX = 1024 * 1024  # bytes of a row
_BLANK = re.compile(r"[ \t\r\n]*")
_SKIMMING = json.JSONDecoder()  # finds where a value ends, and judges little of it


def lines(body: IO[bytes]) -> Iterator[Read]:
    """Read NDJSON: an object per line; None for a blank one."""
    if body.read(len(BOM_UTF8)) != BOM_UTF8:
        body.seek(0)
    while line := body.readline(ROW_MAX + 1):
        if len(line) > ROW_MAX:
            while line and not line.endswith(b"\n"):
                line = body.readline(ROW_MAX)
            yield FieldError("", f"the line has more than {ROW_MAX:,} bytes; a row has no more")
        else:
            yield _row(line) if line.strip() else None


def members(body: IO[bytes]) -> tuple[Raw, "Items"]:
    """Read the JSON of a batch: what stands beside its items, and the items, to be read one by one.

    Raises `MalformedBody`, and `InvalidRequest` where there is no list of items.
    """
    try:
        text = body.read().decode("utf-8-sig")
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
            raise MalformedBody(f"The body has {shown(name)} twice, or where a name should be.")
        at = _expect(text, at, ":")
        if name == "items" and text.startswith("[", at):
            items = Items(text, _expect(text, at, "["))
            at = items.end()
        else:
            head[name], at = _value(text, at)
        at = _next(text, at, "}")
    if _BLANK.fullmatch(text, at + 1) is None:
        raise MalformedBody("The body goes on after the end of its object.")
    if items is None:
        told = f"{shown(head['items'])} is no list" if "items" in head else "it is missing"
        message = f"{told}; send a list of rows"
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
        for _, at in self._walk(_SKIMMING):  # noqa: B007 - the last place is what is asked for
            pass
        return _skip(self._text, _at(self._text, at, "]") + 1)

    def __iter__(self) -> Iterator[Read]:
        for item, _ in self._walk(DECODER):
            yield _object(item)

    def _walk(self, decoder: json.JSONDecoder) -> Iterator[tuple[object, int]]:
        text, at = self._text, self._begin
        while not text.startswith("]", at):
            item, at = _value(text, at, decoder)
            at = _next(text, at, "]")
            yield item, at


def _value(text: str, at: int, decoder: json.JSONDecoder = DECODER) -> tuple[object, int]:
    try:
        value, end = decoder.raw_decode(text, at)
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


def _next(text: str, at: int, end: str) -> int:
    """Return where what follows a comma begins, or where the end is."""
    if not text.startswith(",", at):
        return _at(text, at, end)
    after = _expect(text, at, ",")
    if text.startswith(end, after):
        raise MalformedBody(f"The body is not valid JSON: a comma stands before {end!r}.")
    return after


def _expect(text: str, at: int, sign: str) -> int:
    return _skip(text, _at(text, _skip(text, at), sign) + 1)


def _row(line: bytes) -> Read:
    try:
        return _object(parse(line, "row"))
    except MalformedBody as wrong:
        return FieldError("", wrong.detail)


def _object(item: object) -> Read:
    return (
        item
        if isinstance(item, dict)
        else FieldError("", f"{shown(item)} is no row; send an object")
    )
