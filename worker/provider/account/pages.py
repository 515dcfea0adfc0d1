"""Pages of the provider's log and ledger, as values.

Each `of` reads one JSON object and raises ValueError, naming the field, for anything but the
published shape. A page sets aside rows of another shape as `odd`: one must not hide its neighbours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self, TypeGuard, TypeVar

from worker.provider import credits as money

# What no clock of the provider's shows; arithmetic with times near datetime's own bounds would fail.
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_TEXT_MAX = 256  # characters of a name that we would keep

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class OddRow:
    """A row that is not of the published shape: why, and the call that it names, as far as it does."""

    reason: str
    client_request_id: str | None = None
    inference_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One request as the provider logged it; a failed one is billed nothing."""

    created: datetime
    status: Literal["succeeded", "failed"]
    credits: int
    inference_id: str | None
    client_request_id: str | None

    @classmethod
    def of(cls, row: Mapping[str, object]) -> Self:
        """Read one row of `GET /v2/logs`."""
        status = row.get("status")
        if status not in ("succeeded", "failed"):
            raise ValueError("status is neither succeeded nor failed")
        return cls(
            created=_moment(row, "created"),
            status="succeeded" if status == "succeeded" else "failed",
            credits=_amount(row, "cost"),
            inference_id=_text_or_none(row, "inference_id"),
            client_request_id=_text_or_none(row, "client_request_id"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Rows of the log, newest first; `total` counts all rows of the window."""

    rows: tuple[LogRow, ...]
    odd: tuple[OddRow, ...] = ()
    has_more: bool
    total: int

    @property
    def length(self) -> int:
        """How many rows the page had, odd ones too: where the next one begins."""
        return len(self.rows) + len(self.odd)

    @classmethod
    def of(cls, body: object) -> Self:
        """Read an answer of `GET /v2/logs`."""
        page = _object(body, "the body")
        pagination = _object(page.get("pagination"), "pagination")
        rows, odd = _rows(page, LogRow.of)
        return cls(
            rows=rows,
            odd=odd,
            has_more=_flag(pagination, "has_more"),
            total=_count(pagination, "total"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRow:
    """One movement of the balance: `credits` is positive, `direction` carries the sign.

    `reference_id` is the inference id of a `MODEL_USAGE`.
    """

    created_at: datetime
    direction: Literal["TOPUP", "CHARGE"]
    kind: str
    credits: int
    model: str | None
    reference_id: str | None

    @classmethod
    def of(cls, row: Mapping[str, object]) -> Self:
        """Read one row of `GET /v2/billing/transactions`."""
        direction, kind = row.get("direction"), row.get("type")
        if direction not in ("TOPUP", "CHARGE") or not isinstance(kind, str):
            raise ValueError("direction or type is not known")
        return cls(
            created_at=_moment(row, "created_at"),
            direction="TOPUP" if direction == "TOPUP" else "CHARGE",
            kind=kind,
            credits=_amount(row, "amount"),
            model=_text_or_none(row, "model"),
            reference_id=_text_or_none(row, "reference_id"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionPage:
    """Movements, newest first; `next_cursor` is opaque, and None on the last page."""

    rows: tuple[TransactionRow, ...]
    odd: tuple[OddRow, ...] = ()
    next_cursor: str | None

    @classmethod
    def of(cls, body: object) -> Self:
        """Read an answer of `GET /v2/billing/transactions`."""
        page = _object(body, "the body")
        pagination = _object(page.get("pagination"), "pagination")
        cursor = _text_or_none(pagination, "next_cursor")
        more = _flag(pagination, "has_more")
        if more and cursor is None:
            raise ValueError("has_more without next_cursor")
        rows, odd = _rows(page, TransactionRow.of)
        return cls(rows=rows, odd=odd, next_cursor=cursor if more else None)


def _rows(
    page: Mapping[str, object], read: Callable[[Mapping[str, object]], Row]
) -> tuple[tuple[Row, ...], tuple[OddRow, ...]]:
    data = page.get("data")
    if not isinstance(data, list):
        raise ValueError("data is not a list")  # noqa: TRY004 -- the sender's mistake, not a caller's type
    rows, odd = list[Row](), list[OddRow]()
    for each in data:
        try:
            rows.append(read(_object(each, "the row")))
        except ValueError as error:
            odd.append(OddRow(str(error), *_named(each)))
    return tuple(rows), tuple(odd)


def _named(row: object) -> tuple[str | None, str | None]:
    found = row if isinstance(row, dict) else {}
    client, inference = found.get("client_request_id"), found.get("inference_id")
    return client if _kept(client) else None, inference if _kept(inference) else None


def _object(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")  # noqa: TRY004 -- as above
    return value


def _moment(row: Mapping[str, object], name: str) -> datetime:
    written = row.get(name)
    try:
        moment = datetime.fromisoformat(written if isinstance(written, str) else "")
    except ValueError:
        raise ValueError(f"{name} is not a time") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # documented as UTC
    if not _FIRST <= moment <= _LAST:
        raise ValueError(f"{name} is not a time of ours")
    return moment


def _amount(row: Mapping[str, object], name: str) -> int:
    amount = _object(row.get(name), name)
    told = money.whole(amount.get("credits"))
    found = money.from_usd(amount.get("usd")) if told is None else told
    if found is None:
        raise ValueError(f"{name} has no credits")
    return found


def _text_or_none(row: Mapping[str, object], name: str) -> str | None:
    value = row.get(name)
    # Postgres has no text with a NUL in it, and UTF-8 has no half of a surrogate pair.
    if value is None or _kept(value):
        return value
    raise ValueError(f"{name} is not text")


def _kept(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= _TEXT_MAX and value.isprintable()


def _flag(row: Mapping[str, object], name: str) -> bool:
    value = row.get(name)
    if isinstance(value, bool):
        return value
    raise ValueError(f"{name} is neither true nor false")


def _count(row: Mapping[str, object], name: str) -> int:
    value = money.whole(row.get(name))
    if value is None:
        raise ValueError(f"{name} is not a number")
    return value
