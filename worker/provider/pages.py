"""Pages of the provider's log and ledger, as values.

Each `of` reads one JSON object and raises ValueError, naming the field, for anything but the
published shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self

from worker.provider import credits as money


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
        if status not in {"succeeded", "failed"}:
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
    has_more: bool
    total: int

    @classmethod
    def of(cls, body: object) -> Self:
        """Read an answer of `GET /v2/logs`."""
        page = _object(body, "the body")
        pagination = _object(page.get("pagination"), "pagination")
        return cls(
            rows=tuple(LogRow.of(row) for row in _rows(page)),
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
        if direction not in {"TOPUP", "CHARGE"} or not isinstance(kind, str):
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
        rows = tuple(TransactionRow.of(row) for row in _rows(page))
        return cls(rows=rows, next_cursor=cursor if more else None)


def _rows(page: Mapping[str, object]) -> list[Mapping[str, object]]:
    data = page.get("data")
    if not isinstance(data, list):
        raise ValueError("data is not a list")  # noqa: TRY004 -- the sender's mistake, not a caller's type
    return [_object(row, "a row") for row in data]


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
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # documented as UTC


def _amount(row: Mapping[str, object], name: str) -> int:
    amount = _object(row.get(name), name)
    told = money.whole(amount.get("credits"))
    found = money.from_usd(amount.get("usd")) if told is None else told
    if found is None:
        raise ValueError(f"{name} has no credits")
    return found


def _text_or_none(row: Mapping[str, object], name: str) -> str | None:
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{name} is not text")


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
