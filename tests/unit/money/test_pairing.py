"""What the provider shows without a name is paired with calls only where nothing else is possible."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from models.schema import Attempt
from worker.dispatcher.account.pairing import Candidate, pair

START = datetime(2026, 3, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def calls(*seconds: float) -> list[Attempt]:
    return [
        Attempt(id=UUID(int=number), number=number, sent_at=at(when))
        for number, when in enumerate(seconds)
    ]


def shown(*rows: tuple[float, int | None]) -> list[Candidate[str]]:
    return [Candidate(at(when), cost, f"row at {when}") for when, cost in rows]


def paired(
    rows: list[Candidate[str]], made: list[Attempt], *, within: float = 10
) -> list[tuple[str, int]]:
    def fits(row: Candidate[str], call: Attempt) -> bool:
        return abs(row.at - call.sent_at) <= timedelta(seconds=within)

    found = pair(rows, made, fits)
    taken = {attempt.number for _, attempt in found.found}
    near = {call.number for call in made if any(fits(row, call) for row in rows)}
    assert {attempt.number for attempt in found.contested} == near - taken
    return [(row.shown, attempt.number) for row, attempt in found.found]


def test_one_row_near_one_call_is_its_own() -> None:
    assert paired(shown((1, 5)), calls(0, 100)) == [("row at 1", 0)]


def test_a_row_near_no_call_is_nobodys() -> None:
    assert paired(shown((50, 5)), calls(0, 100)) == []


@pytest.mark.parametrize("rows", [((1, 5), (2, 5)), ((2, 5), (1, 5))])
def test_as_many_rows_as_calls_are_paired_in_their_order(
    rows: tuple[tuple[float, int], ...],
) -> None:
    assert paired(shown(*rows), calls(0.5, 0)) == [("row at 1", 1), ("row at 2", 0)]


@pytest.mark.parametrize("rows", [[(1, 5)], [(1, 5), (2, 5), (3, 5)]])
def test_more_or_fewer_rows_than_calls_are_left_alone(rows: list[tuple[float, int | None]]) -> None:
    assert paired(shown(*rows), calls(0, 1)) == []


def test_rows_that_cost_another_need_an_order_that_is_plain() -> None:
    assert paired(shown((0.1, 5), (0.2, None)), calls(0, 0.1)) == []
    assert paired(shown((0.1, 5), (5.2, None)), calls(0, 5)) == [
        ("row at 0.1", 0),
        ("row at 5.2", 1),
    ]


def test_groups_are_joined_by_what_lies_between_them() -> None:
    assert len(paired(shown((0, 5), (9, 5), (18, 5)), calls(0, 9, 18))) == 3
    assert paired(shown((0, 5), (18, 5)), calls(0, 9, 18)) == []
