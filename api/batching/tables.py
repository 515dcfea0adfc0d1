"""CSV as spreadsheets write it (RFC 4180): rows, or what is wrong with one, with its value and the way out.

A row's number is its place below the line of the columns, blank rows counted: a spreadsheet shows it one
line further down.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from api.batching.formats import ROW_MAX, Raw, Read
from models.errors import FieldError, InvalidRequest
from models.platform.wording import printable, shown

_PIXELS = re.compile(r"([0-9]{1,5})\s*[xX×]\s*([0-9]{1,5})")  # noqa: RUF001 - as people write it
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_DELIMITERS = (",", ";", "\t")  # spreadsheets write what their language takes for a comma
_OF_INPUT = ("model", "prompt", "image_size", "image_urls", "seed", "watermark")
_OF_JOB = ("custom_id", "customer", "tags", "priority")
_META = "metadata."
_SAVE = 'save the file as "CSV UTF-8"'
_ERRORS_MAX = 20  # of columns that are named
# How a byte that is no UTF-8 is read, so that the row which has it can be named (PEP 383).
_UNREAD = re.compile("[\udc80-\udcff]")


class Unreadable(Exception):
    """Nobody can tell where the next row begins; the text says why."""


def table(body: IO[bytes]) -> Iterator[Read]:
    """Read CSV in UTF-8, whose first line names the columns; an empty cell says nothing.

    Yields None for a blank row. Raises `InvalidRequest` for a column that there is not, and `Unreadable`.
    """
    text = io.TextIOWrapper(body, encoding="utf-8-sig", errors="surrogateescape", newline="")
    csv.field_size_limit(ROW_MAX)
    try:
        first = text.readline(ROW_MAX)
        delimiter = max(_DELIMITERS, key=lambda each: len(_cells(first, each)))
        columns = [each.strip() for each in _cells(first, delimiter)]
        _demand_columns(columns)
        for cells in _records(text, delimiter):
            yield _row(columns, cells) if any(cells) else None
    finally:
        text.detach()


def of_size(written: str) -> object:
    """Read a size of pixels, as `2048x1536`; a name stays as it is."""
    pixels = _PIXELS.fullmatch(written)
    return written if pixels is None else {"width": int(pixels[1]), "height": int(pixels[2])}


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _records(text: io.TextIOWrapper, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 2  # the line of the columns is before its first
        try:
            cells = next(reader, None)
        except csv.Error as wrong:
            raise Unreadable(
                f"the row that begins in line {line} cannot be read ({wrong}): write a quote inside of "
                'a text twice, as "", and end each text that begins with one'
            ) from None
        if cells is None:
            return
        yield cells


def _demand_columns(columns: Sequence[str]) -> None:
    known = f"the columns are {', '.join((*_OF_JOB, *_OF_INPUT))} and metadata.…"
    named = [each for each in columns if each]
    errors = [
        FieldError(
            f"column:{printable(name)}",
            f"there is no column {shown(name)}; {known}",
        )
        for name in named
        if name not in {*_OF_JOB, *_OF_INPUT} and not _is_metadata(name)
    ]
    errors += [
        FieldError(f"column:{printable(name)}", f"{shown(name)} stands there twice; keep one")
        for name in dict.fromkeys(named)
        if columns.count(name) > 1
    ]
    if not named:
        errors = [FieldError("", f"the first line names the columns, and there is none; {known}")]
    if errors:
        raise InvalidRequest(
            f"The columns of the CSV cannot be used: {errors[0].message}.",
            errors=tuple(errors[:_ERRORS_MAX]),
        )


def _is_metadata(name: str) -> bool:
    return name.startswith(_META) and name != _META and not _UNREAD.search(name)


def _row(columns: Sequence[str], cells: Sequence[str]) -> Read:
    if (problem := _misshapen(columns, cells)) is not None:
        return problem
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


def _misshapen(columns: Sequence[str], cells: Sequence[str]) -> FieldError | None:
    """Say what of a row's cells belongs to no column, or cannot be read; None when all is well."""
    if len(cells) == len(columns) and "" not in columns and "".join(cells).isascii():
        return None
    begins = f"the row begins with {shown(cells[0])} and has"
    if len(cells) != len(columns) and any(cells[len(columns) :] or [True]):
        few = "; a column without a value is an empty cell" if len(cells) < len(columns) else ""
        return FieldError(
            "",
            f"{begins} {len(cells)} cells for {len(columns)} columns: put quotes around a text with "
            f"commas or line breaks in it{few}",
        )
    for number, cell in enumerate(cells, 1):
        name = columns[number - 1] if number <= len(columns) else ""
        if cell and not name:
            return FieldError("", f"{begins} {shown(cell)} in column {number}, which has no name")
        if not cell.isascii() and (bad := _UNREAD.search(cell)):
            told = _UNREAD.sub("\ufffd", cell)
            byte = ord(bad[0]) - 0xDC00
            return FieldError(
                f"column:{name}", f"{shown(told)} is not UTF-8, see its byte 0x{byte:02x}; {_SAVE}"
            )
    return None


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
