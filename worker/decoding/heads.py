"""Heads of HTTP answers as they really come, written again so that a strict parser takes them.

What stands in a head does not undo what a call has cost, or that a receiver took its webhook. So a line
that is no header is left out, one that is folded is put together, and of what says where the body ends
only what can be followed is kept.
"""

import re
from dataclasses import dataclass

_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/(1\.0|\d(?:\.\d)?)[ \t]+([1-9]\d\d)(?!\d)", re.IGNORECASE)
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = bytes.maketrans(bytes(range(32)) + b"\x7f", b" " * 33)
_CHUNK = re.compile(rb"[0-9A-Fa-f]+[ \t]*(?:[;\r\n]|$)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_LINES_MAX = 16_000  # what is read of a head, in some milliseconds
# About the connection, which ends with the answer; and what the parser refuses or makes work of.
_DROPPED = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"trailer",
    b"sec-websocket-key1", b"set-cookie", b"content-length", b"transfer-encoding",
})  # fmt: skip
_SWITCHING, _BODILESS = 101, frozenset({204, 304})
_FINAL = 200

Field = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Head:
    """A head for the parser, and what has come behind it.

    `whole` is False when it was cut where it grew too long; `bodiless`: nothing may follow; `keeps`: the
    connection may be used again, for nobody ends it, and where the answer ends is beyond doubt.
    """

    text: bytes
    rest: bytes = b""
    whole: bool = True
    bodiless: bool = False
    keeps: bool = False


class HeadReader:
    """Takes bytes until a final answer's head has come: at most `most`, those of 1xx answers too."""

    __slots__ = ("_left", "_looked", "_raw")

    def __init__(self, most: int) -> None:
        self._left = most
        self._raw = bytearray()
        self._looked = 0

    @property
    def status(self) -> int | None:
        """The final status, once its line has come whole; None before, and of what is no HTTP."""
        told = _STATUS.match(self._raw)
        if told is None or not _is_final(told) or b"\n" not in self._raw:
            return None
        return int(told[2])

    def feed(self, data: bytes, *, last: bool = False) -> Head | None:
        """Return the head once it is there, or too long, or `last` is said; what is no HTTP, as it is."""
        self._raw += data
        while True:
            self._skip_lines()
            if not b"HTTP/".startswith(bytes(self._raw[:5]).upper()):
                return Head(bytes(self._raw))
            end = _END.search(self._raw, max(0, self._looked - 3))
            if end is None:
                self._looked = len(self._raw)
                too_long = last or self._looked > self._left
                return _mended(bytes(self._raw), b"", whole=False) if too_long else None
            head = bytes(self._raw[: end.start()])
            status = _STATUS.match(head)
            if status is None or _is_final(status):
                return _mended(head, bytes(self._raw[end.end() :]), whole=True)
            self._left -= end.end()
            if self._left < 0:  # nothing but 1xx: nothing was said
                return Head(b"", whole=False)
            del self._raw[: end.end()]  # copies nothing, however many there are
            self._looked = 0

    def _skip_lines(self) -> None:
        if self._looked == 0 and self._raw.startswith((b"\r", b"\n")):
            self._left -= len(self._raw)
            self._raw = self._raw.lstrip(b"\r\n")
            self._left += len(self._raw)


def _is_final(status: re.Match[bytes]) -> bool:
    return int(status[2]) >= _FINAL or int(status[2]) == _SWITCHING


def _mended(head: bytes, rest: bytes, *, whole: bool) -> Head:
    status = _STATUS.match(head)
    if status is None:
        return Head(head + b"\r\n\r\n" + rest)
    code = int(status[2])
    lines = head.split(b"\n", _LINES_MAX)[1:_LINES_MAX]
    fields = _fields(lines if whole else lines[:-1])  # of the last one the end may be missing
    kept = [field for field in fields if field[0] not in _DROPPED]
    # Of a head that was cut nobody knows where the body begins: it never comes.
    kept += _framing(fields, rest) if whole else [(b"content-length", b"1")]
    version = b"1.0" if status[1] == b"1.0" else b"1.1"
    text = [b"HTTP/%b %d " % (version, code), *(b"%b: %b" % field for field in kept)]
    bodiless = code in _BODILESS
    return Head(
        b"\r\n".join(text) + b"\r\n\r\n",
        rest,
        whole,
        bodiless=bodiless,
        keeps=whole and status[1] == b"1.1" and code != _SWITCHING and _keeps(fields, bodiless),
    )


def _fields(lines: list[bytes]) -> list[Field]:
    """Read name and value of each line that is a header; a folded one belongs to the line before."""
    read: list[tuple[bytes, list[bytes]]] = []
    values: list[bytes] | None = None
    for line in lines:
        if line[:1] in {b" ", b"\t"}:
            if values is not None:
                values.append(line.translate(_CONTROLS).strip())
            continue
        name, colon, value = line.partition(b":")
        name, values = name.strip().lower(), None
        if colon and _NAME.fullmatch(name):
            values = [value.translate(_CONTROLS).strip()]
            read.append((name, values))
    return [(name, b" ".join(values)) for name, values in read]


def _keeps(fields: list[Field], bodiless: bool) -> bool:  # noqa: FBT001
    """Return whether a connection may go on: nobody ends it, and the body's end is said once, plainly."""
    said = [(name, value.lower()) for name, value in fields]
    if any(b"close" in value for name, value in said if name.endswith(b"connection")):
        return False
    framing = [each for each in said if each[0] in {b"content-length", b"transfer-encoding"}]
    if bodiless:
        return not framing or framing == [(b"content-length", b"0")]
    return len(framing) == 1 and (framing[0][1] == b"chunked" or framing[0][1].isdigit())


def _framing(fields: list[Field], rest: bytes) -> list[Field]:
    """Return where the body ends: by its chunks, its length, or, when these contradict, the connection.

    Proxies that take chunks apart leave their header on: what has come of the body tells.
    """
    said = any(
        name == b"transfer-encoding" and b"chunked" in value.lower() for name, value in fields
    )
    if said and (not rest or _CHUNK.match(rest)):
        return [(b"transfer-encoding", b"chunked")]
    told = b",".join(value for name, value in fields if name == b"content-length")
    lengths = {each.strip() for each in told.split(b",")}
    length = lengths.pop()
    return [(b"content-length", length)] if not lengths and _LENGTH.fullmatch(length) else []
