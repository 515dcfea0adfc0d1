from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import ids

LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
any_uuid = st.integers(0, (1 << 128) - 1).map(lambda number: UUID(int=number))
prefixes = st.sampled_from([ids.JOB, ids.ATTEMPT, ids.ENDPOINT, ids.EVENT, ids.DELIVERY])


@given(prefixes, any_uuid)
def test_what_was_written_is_read_back(prefix: str, value: UUID) -> None:
    assert ids.parse(prefix, ids.text(prefix, value)) == value


@given(any_uuid, any_uuid)
def test_ids_sort_as_their_uuids_do(one: UUID, other: UUID) -> None:
    assert (ids.text("job", one) < ids.text("job", other)) == (one < other)


@given(st.text(max_size=40) | st.from_regex(r"job_[0-9a-z]{26}", fullmatch=True))
def test_what_is_read_is_exactly_what_would_be_written(written: str) -> None:
    value = ids.parse("job", written)
    assert value is None or ids.text("job", value) == written


def test_an_id_is_short_enough_and_plain_enough_for_the_providers_log() -> None:
    written = ids.text(ids.JOB, ids.new())
    assert len(written) == 30
    assert set(written.removeprefix("job_")) <= set(LETTERS)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "job_",
        "job",
        "job_01jd",
        "att_00000000000000000000000000",
        "job_0000000000000000000000000",
        "job_000000000000000000000000000",
        "JOB_00000000000000000000000000",
        "job_0000000000000000000000000O",
        "job_0000000000000000000000000i",
        "job_80000000000000000000000000",  # one more than 128 bits
        "job_00000000000000000000000000\n",
        "job_\u0660000000000000000000000000",  # a digit, but not ours
    ],
)
def test_anything_else_is_no_id(written: str) -> None:
    assert ids.parse("job", written) is None


def test_fresh_ids_are_uuid7_and_come_in_order() -> None:
    made = [ids.new() for _ in range(1_000)]
    assert {each.version for each in made} == {7}
    assert made == sorted(made)
    assert len(set(made)) == 1_000
