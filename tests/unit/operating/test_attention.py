"""What needs a person is said as a person would say it."""

from typing import Any

import pytest

from models.operating import attention

QUIET: dict[str, Any] = {
    "books": {"differences": 0, "charges_of_nobody": 0},
    "charges": {"overdue": 0},
    "wallet": None,
    "gates": [],
    "workers": {"count": 1},
    "queue": {"queued": 0},
    "pauses": [],
    "processes": [],
    "set_aside": {},
    "erasure_overdue_seconds": 0.0,
    "webhooks": {"endpoints": {"disabled": 0}},
}


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (
            1,
            [
                "The books of 1 job differ: pause, and report it.",
                "1 charge of the last day is not ours: who has the key?",
                "1 charge is unknown for longer than the provider's log takes.",
                "1 endpoint was disabled because it failed: tell its project.",
            ],
        ),
        (
            2,
            [
                "The books of 2 jobs differ: pause, and report it.",
                "2 charges of the last day are not ours: who has the key?",
                "2 charges are unknown for longer than the provider's log takes.",
                "2 endpoints were disabled because they failed: tell their projects.",
            ],
        ),
    ],
)
def test_one_is_told_of_as_one(count: int, told: list[str]) -> None:
    state = QUIET | {
        "books": {"differences": count, "charges_of_nobody": count},
        "charges": {"overdue": count},
        "webhooks": {"endpoints": {"disabled": count}},
    }
    assert [each["message"] for each in attention.needs(state)] == told
