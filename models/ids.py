"""Ids people can read: a prefix and a UUIDv7 in Crockford's base 32.

`job_01jd…` outside, a native 16-byte `uuid` in the database. UUIDv7 (RFC 9562) starts with the time, so
ids sort by creation and indexes stay dense. Crockford's alphabet (https://www.crockford.com/base32.html)
has no i, l, o, u; we write it in lower case, 26 characters.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from uuid_utils import uuid7

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]  # of ten bits each
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_LENGTH = 26  # ceil(128 / 5)
_UUID_BITS = 128
_TIME_SHIFT = 80  # RFC 9562, 5.7: the first 48 bits are milliseconds since 1970

# An id has its maker's time, and a row the database's.
_CLOCKS_APART = timedelta(hours=1)
_EPOCH, _NEVER = datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

JOB, ATTEMPT, ENDPOINT, EVENT, DELIVERY = "job", "att", "whk", "evt", "dlv"
PROJECT, KEY, BUDGET, ACTION, AUDIT, ERASURE = "prj", "key", "bud", "act", "aud", "ers"
BATCH, GROUP, FILE = "batch", "group", "file"


def new() -> UUID:
    """Make a fresh UUIDv7."""
    return UUID(int=uuid7().int)


def sooner(moment: datetime) -> datetime:
    """Return a time before which no clock shows this moment: those of our machines may be an hour apart."""
    return max(moment, _EPOCH) - _CLOCKS_APART


def later(moment: datetime) -> datetime:
    """Return a time after which no clock shows this moment."""
    return min(moment, _NEVER) + _CLOCKS_APART


def first_at(moment: datetime) -> UUID:
    """Return the smallest id that could have been made at a moment: a bound in the order of time."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << _TIME_SHIFT)


def text(prefix: str, value: UUID) -> str:
    """Write an id as people see it: `text("job", u)` is `job_` and 26 letters."""
    number = value.int
    pairs = [_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)]
    return f"{prefix}_{''.join(pairs)}"


def parse(prefix: str, written: str) -> UUID | None:
    """Read an id back; None for anything that `text` with this prefix did not write."""
    head, _, letters = written.partition("_")
    if head != prefix or len(letters) != _LENGTH:
        return None
    number = 0
    for letter in letters:
        value = _VALUES.get(letter)
        if value is None:
            return None
        number = number << 5 | value
    return UUID(int=number) if number < 1 << _UUID_BITS else None


def batch(written: str) -> UUID | None:
    """Read the id of a batch or of a group back, as `parse`."""
    return parse(BATCH, written) or parse(GROUP, written)
