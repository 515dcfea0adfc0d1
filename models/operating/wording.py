"""One sentence on how it goes for a project, as a colleague would say it."""

from collections.abc import Sequence

from models.jobs.queue.reasons import Standing
from models.jobs.reading.flow import Minute
from models.operating.project_needs import Need


def sentence(standing: Standing, minutes: Sequence[Minute], needs: Sequence[Need]) -> str:
    """Say what goes on, what waits, and what came of the last hour; first of all, what stops it."""
    stop = next((each for each in needs if each.stops), None)
    if stop is not None:
        return f"{stop.message} {_standing(standing)}"
    return f"{_standing(standing)} {_lately(minutes)}"


def _standing(standing: Standing) -> str:
    parts = []
    if standing.running:
        parts.append(f"{counted(standing.running, 'call is', 'calls are')} under way")
    if standing.waiting:
        least = "at least " if standing.at_least else ""
        waits = counted(standing.waiting, "job waits", "jobs wait")
        since = f", the oldest for {span(standing.oldest)}" if standing.oldest >= 1 else ""
        parts.append(f"{least}{waits}{since}")
    if not parts:
        return "Nothing waits, and no call is under way."
    said = ", and ".join(parts)
    return f"{said[0].upper()}{said[1:]}."


def _lately(minutes: Sequence[Minute]) -> str:
    made = sum(each.succeeded for each in minutes)
    failed = sum(each.failed + each.expired for each in minutes)
    least = "at least " if any(each.at_least for each in minutes) else ""
    if not made and not failed:
        return "Nothing ended in the last hour."
    pictures = f"The last hour brought {least}{counted(made, 'picture', 'pictures')}"
    if not failed:
        return f"{pictures}, and nothing failed."
    return f"{pictures}; {counted(failed, 'job', 'jobs')} failed or expired."


def span(seconds: float) -> str:
    """Write a time span in its largest unit: `38 s`, `12 min`, `5 h`, `3 days`."""
    for unit, length in (("days", 172_800), ("h", 7_200), ("min", 120)):
        if seconds >= length:
            each = {"days": 86_400, "h": 3_600, "min": 60}[unit]
            return f"{seconds / each:.0f} {unit}"
    return f"{seconds:.0f} s"


def counted(number: int, one: str, many: str) -> str:
    """Write a number with what it counts: `1 job is`, `2 jobs are`."""
    return f"{number:,} {one if number == 1 else many}"
