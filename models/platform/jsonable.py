"""Values as our JSON writes them, in answers, webhooks and logs alike."""

from datetime import UTC, datetime

Json = dict[str, object]


def time(moment: datetime | None) -> str | None:
    """Write a time: UTC, ISO 8601, milliseconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
