"""What the local stack tells of a job: an answer without an image says why, and what the job waits for."""

from datetime import UTC, datetime

import pytest

from deploy.local.demo.timeline import Moment, told

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("outcome", "reason", "status", "words"),
    [
        ("Image", None, 200, "the provider has answered"),
        ("TryLater", "provider_error", 500, "the provider has answered 500: provider_error"),
        ("TryLater", "not_sent", None, "no answer came: not_sent"),
        ("Unknown", "connection_lost", None, "no answer came: connection_lost"),
        (
            *("Parked", "provider_key", 401),
            "the provider has answered 401: provider_key; the job waits, see docs/waiting.md#provider_key",
        ),
    ],
)
def test_an_answer_says_what_it_came_to(
    outcome: str, reason: str | None, status: int | None, words: str
) -> None:
    fields = {"outcome": outcome, "reason": reason, "http_status": status}
    assert told(Moment("attempt.answered", NOON, fields)) == words
