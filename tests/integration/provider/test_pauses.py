"""`python -m models pause`, `resume` and `limit`, and what is shown of what they hold back."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from models import ids, jobs
from models.__main__ import main
from models.jobs import Filter
from models.provider import pauses
from models.states import WaitingReason
from tests.conftest import SECRET
from tests.fixtures.making import LEASE, NOTHING, Bench

MODEL = "bytedance/seedream-5-0-lite-preview"


@pytest.fixture(autouse=True)
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("DARKROOM_SECRET", SECRET)


async def run(*words: str) -> int:
    """Run a command, as a process of its own would: in a thread with its own event loop."""
    return await asyncio.to_thread(main, words)


async def dispatched(bench: Bench) -> list[UUID]:
    found = await bench.do(lambda tx: jobs.dispatch(tx, 9, lease=LEASE, typical_call=NOTHING))
    return [each.job_id for each in found]


async def paid(bench: Bench) -> UUID:
    """A job whose image only has to be kept."""
    ref = await bench.running()
    await bench.receive(ref)
    await bench.keep_later(ref)
    await bench.change(ref.job_id, "run_after = now()")
    return ref.job_id


async def shown(bench: Bench, job_id: UUID) -> object:
    """Return why a job waits, as GET shows it; lists must find it by the same reason."""
    read = await bench.do(lambda tx: jobs.read(tx, bench.caller.project_id, job_id))
    reason = read.show(bench.presenter)["waiting_reason"]
    listed = await bench.do(
        lambda tx: jobs.listing(
            tx, bench.caller.project_id, Filter(waiting_reason=str(reason)), 100
        )
    )
    assert job_id in [each.job.id for each in listed[0]]
    return reason


async def reasons(bench: Bench, *job_ids: UUID) -> Sequence[object]:
    return [await shown(bench, each) for each in job_ids]


async def test_while_everything_is_paused_nothing_is_released(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    image = await paid(bench)
    made = [await bench.submit() for _ in range(2)]
    assert await run("pause") == 0
    assert await dispatched(bench) == []
    assert await reasons(bench, image, *made) == ["paused"] * 3
    said = capsys.readouterr().out
    assert "everything" in said
    assert "webhooks go on" in said
    assert await run("resume") == 0
    assert capsys.readouterr().out == "nothing is paused\n"
    assert await reasons(bench, image, *made) == ["queue"] * 3
    assert await dispatched(bench) == [image, *made]


async def test_a_paused_model_waits_and_its_paid_images_are_kept(bench: Bench) -> None:
    image, job, another = await paid(bench), await bench.submit(), await bench.submit()
    await bench.change(another, "model = 'another'")
    assert await run("pause", "--model", MODEL) == 0
    assert await reasons(bench, image, job, another) == ["queue", "paused", "queue"]
    assert await dispatched(bench) == [image, another]
    assert await run("resume", "--model", MODEL) == 0
    assert await dispatched(bench) == [job]


async def test_a_paused_project_waits_and_the_others_go_on(bench: Bench, other: Bench) -> None:
    image, job, theirs = await paid(bench), await bench.submit(), await other.submit()
    assert await run("pause", "--project", "tests") == 0
    assert await reasons(bench, image, job) == ["queue", "paused"]
    assert await shown(other, theirs) == "queue"
    assert set(await dispatched(bench)) == {image, theirs}
    project = ids.text(ids.PROJECT, bench.caller.project_id)
    assert await run("resume", "--project", project) == 0
    assert await dispatched(bench) == [job]


async def test_those_that_wait_for_a_key_wait_for_a_pause_too(bench: Bench) -> None:
    first, second = [await bench.submit(concurrency_key="k") for _ in range(2)]
    assert await dispatched(bench) == [first]
    assert await shown(bench, second) == "concurrency_key"
    await bench.cancel(first)
    for words in ((), ("--model", MODEL), ("--project", "tests")):
        assert await run("pause", *words) == 0
        assert await dispatched(bench) == []
        assert await run("resume", *words) == 0
    assert await dispatched(bench) == [second]


async def test_a_pause_of_much_and_one_of_little_are_ended_each_for_itself(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    job = await bench.submit()
    for words in ((), ("--model", MODEL), ("--project", "tests")):
        assert await run("pause", *words) == 0
        assert await run("pause", *words) == 0
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert [line.partition(": ")[2] for line in lines[:3]] == [
        "everything",
        f"model {MODEL}",
        "project tests",
    ]
    assert await run("resume") == 0
    assert "project tests" in capsys.readouterr().out
    assert await dispatched(bench) == []
    assert await run("resume", "--model", MODEL) == 0
    assert await dispatched(bench) == []
    for _ in range(2):
        assert await run("resume", "--project", "tests") == 0
    assert await dispatched(bench) == [job]


async def test_what_is_paused_must_be_there(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("pause", "--model", "seedream") == 2
    assert "There is no model 'seedream'; GET /v1/models" in capsys.readouterr().err
    assert await run("pause", "--project", "nobody") == 2
    assert "nobody" in capsys.readouterr().err
    assert await bench.do(pauses.standing) == []


async def test_a_job_in_flight_is_not_paused(bench: Bench) -> None:
    ref = await bench.running()
    assert await run("pause") == 0
    await bench.receive(ref)
    ended = await bench.succeed(ref)
    assert ended is not None
    assert ended.status == "succeeded"


async def test_a_gate_holds_no_paid_image(bench: Bench) -> None:
    image, job = await paid(bench), await bench.submit()
    await bench.run("INSERT INTO gates (reason) VALUES ('wallet_empty')")
    assert await reasons(bench, image, job) == ["queue", "wallet_empty"]


async def test_caps_are_set_shown_and_taken_away(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    async def limit(*words: str) -> str:
        assert await run("limit", "tests", *words) == 0
        return capsys.readouterr().out.strip()

    assert await limit() == (
        "tests: no cap of its own on jobs in flight, at most 1 per concurrency_key"
    )
    assert await limit("--in-flight", "1", "--per-key", "2") == (
        "tests: at most 1 jobs in flight, at most 2 per concurrency_key"
    )
    assert await limit() == "tests: at most 1 jobs in flight, at most 2 per concurrency_key"
    first, second = [await bench.submit() for _ in range(2)]
    assert await dispatched(bench) == [first]
    wanted: list[WaitingReason] = ["queue", "project_cap"]
    assert await reasons(bench, first, second) == wanted
    assert await limit("--in-flight", "none") == (
        "tests: no cap of its own on jobs in flight, at most 2 per concurrency_key"
    )
    assert await shown(bench, second) == "queue"
    assert await dispatched(bench) == [second]


@pytest.mark.parametrize(
    "words", [("--in-flight", "0"), ("--per-key", "none"), ("--per-key", "-1")]
)
async def test_a_cap_is_a_count(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        await run("limit", "tests", *words)
    assert words[0] in capsys.readouterr().err
