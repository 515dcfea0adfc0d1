"""A time zone in which no day ends, and no month, while a test runs."""

from datetime import UTC, datetime

NOON = f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"
"""Where it was between noon and one o'clock when the tests began. POSIX counts hours west of Greenwich."""
