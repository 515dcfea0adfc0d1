"""What happens to a job, read from the roles' JSON logs as it happens."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_CREDITS_PER_DOLLAR = 2_000_000  # 91,000 credits are $0.0455


@dataclass(frozen=True)
class Moment:
    """One line of a log: the event's name, when it was, and its fields."""

    event: str
    at: datetime
    fields: Mapping[str, object]

    def about(self, job_id: str) -> bool:
        """Return whether it happened to the job."""
        return self.fields.get("job_id") == job_id

    def number(self, field: str) -> int:
        """Return a field that is a whole number; 0 when it is not there."""
        value = self.fields.get(field)
        return value if isinstance(value, int) else 0


class Log:
    """A log file that somebody else is writing; it may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = path.stat().st_size if path.exists() else 0

    def news(self) -> list[Moment]:
        """Return what was written since the last look, whole lines only."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole) + 1 if whole else 0
        return [moment for line in whole.splitlines() if (moment := _moment(line))]


def news(logs: Sequence[Log]) -> list[Moment]:
    """Return what was written to any of the logs since the last look, in the order of time."""
    return sorted((moment for log in logs for moment in log.news()), key=lambda moment: moment.at)


def told(moment: Moment) -> str | None:
    """Return in a few words what happened; None for what is no part of a job's story."""
    words = _STORY.get(moment.event)
    return words(moment) if words else None


def priced(credits_: int) -> str:
    """Write an amount in credits and dollars."""
    return f"{credits_:,} credits (${credits_ / _CREDITS_PER_DOLLAR:.4f})"


def _answered(moment: Moment) -> str:
    """Say what a call without an image came to, and where to read what the job then waits for."""
    reason, status = moment.fields.get("reason"), moment.fields.get("http_status")
    if reason is None:
        return "the provider has answered"
    said = f"the provider has answered {status}" if status else "no answer came"
    waits = f"; the job waits, see docs/waiting.md#{reason}"
    return f"{said}: {reason}{waits if moment.fields.get('outcome') == 'Parked' else ''}"


_STORY: dict[str, Callable[[Moment], str]] = {
    "job.accepted": lambda _: "accepted",
    "job.dispatched": lambda _: "dispatched to a worker",
    "attempt.sent": lambda m: f"sent to the provider, attempt {m.number('attempt')}",
    "attempt.answered": _answered,
    "image.kept": lambda m: (
        f"image kept, {m.number('width')}x{m.number('height')}, {m.number('bytes'):,} bytes"
    ),
    "job.succeeded": lambda m: f"charged {priced(m.number('credits'))}",
    "job.failed": lambda _: "failed",
}


def _moment(line: bytes) -> Moment | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("event"), str):
        return None
    return Moment(event=fields["event"], at=_time(fields.get("timestamp")), fields=fields)


def _time(written: object) -> datetime:
    try:
        at = datetime.fromisoformat(str(written))
    except ValueError:
        return datetime.now(UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
