"""The operator's audit: silent when the books agree, exact when they do not, and its exit status."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models import __main__ as operator
from models import ids
from models.money import statement
from models.money.audit import audit
from models.money.statement import Line
from models.settings import Settings
from tests.fixtures.making import LOST, PRICE, Bench

ROOT = Path(__file__).parents[3]


def environment(settings: Settings) -> dict[str, str]:
    """Return what the command must be told."""
    return {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "DARKROOM_SECRET": settings.secret.get_secret_value(),
    }


def run_audit(settings: Settings) -> subprocess.CompletedProcess[str]:
    """Run `python -m models audit` as an operator does."""
    return subprocess.run(
        [sys.executable, "-m", "models", "audit"],
        env={"PATH": os.defpath, **environment(settings)},
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


async def test_books_that_agree_are_not_worth_a_word(
    bench: Bench,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await bench.submit()
    await bench.lose(await bench.running(on_unknown_charge="fail"), LOST)
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert await asyncio.to_thread(operator.main, ["audit"]) == 0
    assert capsys.readouterr() == ("", "")


async def test_an_attempt_that_parts_from_what_the_provider_charged_is_named(bench: Bench) -> None:
    ref = await bench.running()
    await bench.receive(ref)
    (attempt,) = await bench.attempts(ref.job_id)
    line = Line(attempt["sent_at"], "MODEL_USAGE", PRICE, attempt["inference_id"])
    (read,) = await bench.do(lambda tx: statement.take(tx, [line]))
    await bench.do(lambda tx: statement.assign(tx, read, attempt["id"]))
    await bench.do(lambda tx: statement.note_booked(tx, attempt["id"]))
    assert await audit(bench.database) == []

    await bench.run("UPDATE account_lines SET credits = 5")

    (found,) = await audit(bench.database)
    assert found.message == (
        f"attempt 1 is booked with {PRICE} credits, the account's own ledger has 5"
    )


async def test_a_difference_is_one_line_that_names_the_job_and_both_sums(
    bench: Bench, settings: Settings
) -> None:
    await bench.submit()
    touched = await bench.submit()
    await bench.change(touched, "held = 7")

    done = run_audit(settings)

    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith(ids.text(ids.JOB, touched))
    assert "held 7" in line
    assert str(PRICE) in line


async def test_a_finished_job_that_still_holds_is_told_even_if_the_sums_agree(
    bench: Bench,
) -> None:
    job_id = await bench.submit()
    await bench.cancel(job_id)
    await bench.run(
        "INSERT INTO ledger (project_id, key_id, job_id, attempt, kind, credits)"
        " SELECT project_id, key_id, id, 2, 'hold', 5 FROM jobs"
    )
    await bench.change(job_id, "held = 5")

    (found,) = await audit(bench.database)

    assert "canceled, yet it holds 5" in found.message
