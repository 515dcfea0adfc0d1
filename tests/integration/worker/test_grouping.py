"""Images that come to one worker together: they are booked together, and none spoils it for the others."""

import asyncio
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from models.platform import together
from models.schema import Project
from tests.fixtures.spending import House
from worker import generate


async def test_images_that_come_while_one_is_booked_are_booked_together(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "_SLOW", 60.0)
    things = [(made := await house.submit(), await house.bench.dispatch(made)) for _ in range(6)]
    project_id = house.bench.caller.project_id
    async with house.bench.database.transaction() as tx:
        await tx.execute(select(Project.id).where(Project.id == project_id).with_for_update())
        await generate.start(house.context, things)
        async with asyncio.timeout(20):
            while _in_line(house, project_id) < len(things):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
    await house.context.flight.landed()
    found = await house.bench.rows(
        "SELECT count(DISTINCT charged_at) AS booked, count(*) FILTER (WHERE status = 'succeeded') AS ended"
        "  FROM attempts JOIN jobs ON jobs.id = job_id"
    )
    assert found[0]["ended"] == len(things)
    assert found[0]["booked"] <= 2, "the first, or the first few, and the rest"
    assert await house.bench.audit() == []


def _in_line(house: House, project_id: UUID) -> int:
    """Count the images that are being booked, and those that wait for these."""
    lines = house.context.received
    line = None if lines is None else lines._lines.get(project_id)  # noqa: SLF001 - nobody else asks
    return 0 if line is None else len(line._under_way) + len(line._waiting)  # noqa: SLF001 - the same


async def test_one_that_postgres_refuses_spoils_none_of_its_group(
    house: House, database_url: str
) -> None:
    refused, *others = [await house.submit() for _ in range(6)]
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as hand:
        await hand.execute(_REFUSE.replace(b"JOB", str(refused).encode()))
    with capture_logs() as logs:
        await house.work()
    told = [each["task"] for each in logs if each["event"] == "bundle.failed"]
    assert told == ["succeed"], "once, for all of them"
    rows = await house.bench.rows("SELECT id FROM jobs WHERE status = 'succeeded'")
    assert {row["id"] for row in rows} == set(others)
    left = await house.bench.job(refused)
    assert (left["status"], left["phase"]) == ("running", "keep"), "it is paid, and comes again"
    assert await house.bench.audit() == []


_REFUSE = b"""
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'not this one';
    END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW
     WHEN (NEW.id = 'JOB' AND NEW.status = 'succeeded') EXECUTE FUNCTION refuse();
"""
