"""The simulator's time: UTC, shown as the provider shows it."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


def text(moment: datetime) -> str:
    """Write a moment with milliseconds and Z: `2026-08-17T10:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read(written: str, *, offset_needed: bool = False) -> datetime:
    """Read ISO 8601, without an offset as UTC unless one is needed; raises `ValueError`."""
    moment = datetime.fromisoformat(written)
    if moment.tzinfo is None:
        if offset_needed:
            raise ValueError("an offset is needed")
        return moment.replace(tzinfo=UTC)
    return moment
