"""The operator plane as commands: `python -m models …` does what the API does."""

import asyncio
import json
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from celery import Celery
from sqlalchemy import text

from models import ids
from models.__main__ import main
from models.commands import parsing
from models.money import prices
from models.platform.doorbell import Doorbell
from models.settings import Settings
from tests.conftest import SECRET
from tests.fixtures.making import PRICE, Bench
from tests.fixtures.spending import MODEL
from worker.dispatcher.duties import acting
from worker.dispatcher.duty import Dispatcher


@pytest.fixture(autouse=True)
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("DARKROOM_SECRET", SECRET)


Work = Callable[[], Awaitable[None]]


class Shell:
    """Runs commands, each as a process of its own would."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def __call__(self, *words: str, status: int = 0) -> str:
        assert await asyncio.to_thread(main, words) == status, words
        said = self._capsys.readouterr()
        return (said.out if status < 2 else said.err).strip()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture
async def work(
    bench: Bench, settings: Settings, redis_server: str, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Work]:
    """Do what was asked for of many jobs, as a dispatcher does, until nothing is left."""
    async with Doorbell(redis_server) as doorbell:
        dispatcher = Dispatcher(settings, "d1", bench.database, doorbell, Celery(), bench.presenter)

        async def until_done() -> None:
            while await acting.run(dispatcher):
                pass
            capsys.readouterr()  # a command prints nothing of this

        yield until_done


async def test_an_operators_key_is_made_listed_and_revoked(bench: Bench, run: Shell) -> None:
    key = await run("create-operator-key", "--label", "night shift")
    (row,) = await bench.rows("SELECT scopes, project_id FROM api_keys WHERE name = 'night shift'")
    assert row == {"scopes": ["operator"], "project_id": None}
    listed = await run("keys")
    assert "operators  night shift" in listed
    assert "tests  tests" in listed
    assert key.split("_")[3] not in listed
    assert "is revoked" in await run("revoke-key", key[:20])
    assert "revoked 20" in await run("keys")
    assert "no API key" in await run("revoke-key", "dr_live_nobody", status=2)
    assert "tests" in await run("keys", "tests")


async def test_a_project_has_so_many_keys_by_command_too(
    bench: Bench, run: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_KEYS_MAX", "2")
    key = await run("create-key", "tests", "--scope", "jobs:read")
    assert "DARKROOM_KEYS_MAX" in await run("create-key", "tests", "--scope", "jobs:read", status=2)
    # Whoever starts again with the same key makes none.
    assert await run("create-key", "tests", "--scope", "jobs:read", "--key", key) == key
    assert len(await bench.rows("SELECT FROM api_keys")) == 2


async def test_a_project_is_suspended_reinstated_renamed_and_deleted(
    bench: Bench, run: Shell
) -> None:
    assert "active     tests" in await run("projects")
    assert "accepts no job" in await run("suspend", "tests", "--reason", "it does not pay")
    assert "suspended  tests" in await run("projects")
    assert "suspended: only its reinstatement" in await run(
        "resume", "--project", "tests", status=2
    )
    assert await run("reinstate", "tests") == "tests goes on"
    assert (await run("rename-project", "tests", "atelier")).endswith("is atelier")
    assert "--yes" in await run("delete-project", "atelier", status=2)
    named = ids.text(ids.PROJECT, bench.caller.project_id)
    assert named in await run("delete-project", "atelier", "--yes")
    assert await run("projects") == "there is no project"
    assert await run("attention") == "nothing needs a person"  # the dispatchers see to the rest
    assert f"deleting   deleted {named}" in await run("projects", "--deleted")


async def test_state_attention_and_charges_are_told(bench: Bench, run: Shell) -> None:
    assert await run("attention") == "nothing needs a person"
    lost = await bench.running(on_unknown_charge="fail")
    await bench.lose(lost)
    assert json.loads(await run("state"))["charges"]["unknown"] == 1
    assert f"{ids.text(ids.JOB, lost.job_id)}:1" in await run("charges")
    await run("pause")
    assert "paused: An operator has paused everything" in await run("attention", status=1)
    assert "No gate 'wallet_empty'" in await run("probe", "wallet_empty", status=2)
    await bench.run("INSERT INTO gates (reason) VALUES ('wallet_empty')")
    assert "tries the gate" in await run("probe", "wallet_empty")


async def test_what_a_command_changes_is_logged_with_its_user(bench: Bench, run: Shell) -> None:
    await run("limit", "tests", "--in-flight", "3")
    last = json.loads((await run("audit-log", "list", "--project", "tests")).splitlines()[0])
    user = pwd.getpwuid(os.getuid()).pw_name
    assert last["action"] == "project.limits_changed"
    assert (last["before"], last["after"]) == ({"in_flight": None}, {"in_flight": 3})
    assert (last["actor"]["type"], last["actor"]["name"].split("@")[0]) == ("command", user)
    whole = await run("audit-log", "verify")
    end = whole.rpartition(" ")[2]
    assert "whole and in order" in await run("audit-log", "verify", "--expect", end)
    assert "is no end" in await run("audit-log", "verify", "--expect", "7:abc", status=2)
    async with bench.database.transaction() as tx:
        await tx.execute(text("SET LOCAL session_replication_role = replica"))
        await tx.execute(text("DELETE FROM audit_log WHERE seq = 1"))
    assert await run("audit-log", "verify", status=1) == "line 1 is missing: removed"


async def test_a_model_without_a_price_is_allowed_and_called_no_more(
    bench: Bench, run: Shell
) -> None:
    model = "google/nano-banana-2"
    said = await run("allow", model, "--hold", "400000")
    assert said == f"{model}: 400,000 credits ($0.20) are held for a call"
    assert (await bench.do(prices.present))[model] == 400_000
    assert "called no more" in await run("allow", model, "--no")
    assert model not in await bench.do(prices.present)
    assert "has a price" in await run("allow", MODEL, "--hold", "1", status=2)
    assert "is not in the catalog" in await run("allow", "x/y", "--hold", "1", status=2)


async def test_jobs_are_chosen_by_a_filter_counted_and_canceled(
    bench: Bench, run: Shell, work: Work
) -> None:
    for customer in ("c_1", "c_1", "c_2"):
        await bench.submit(customer=customer)
    chosen = ("act", "tests", "cancel", "--customer", "c_1")
    said = await run(*chosen)
    assert (
        said
        == f"2 jobs would be canceled, {2 * PRICE:,} credits ($0.091) given back; --yes does it"
    )
    assert await run("actions", "tests") == "there is no action"
    named = (await run(*chosen, "--yes")).split(":")[0]
    assert "cancel  running  0 of 2 done" in await run("actions", "tests")
    await work()
    assert "cancel  completed  2 of 2 done, 0 skipped, 0 failed" in await run("actions", "tests")
    assert "completed" in await run("cancel-action", named)  # it has ended
    rows = await bench.rows("SELECT status, customer FROM jobs ORDER BY customer, id")
    assert [each["status"] for each in rows] == ["canceled", "canceled", "queued"]
    last = json.loads((await run("audit-log", "list", "--project", "tests")).splitlines()[0])
    assert (last["action"], last["actor"]["type"]) == ("action.requested", "command")


async def test_a_command_retries_with_the_old_jobs_key_and_erases_in_its_own_name(
    bench: Bench, run: Shell, work: Work
) -> None:
    lost = await bench.running(metadata={"order": "A-17"})
    await bench.refuse(lost)
    await run("act", "tests", "retry", "--metadata", "order=A-17", "--yes")
    await work()
    (old, new) = await bench.rows("SELECT key_id, retried_from FROM jobs ORDER BY id")
    assert (new["retried_from"], new["key_id"]) == (lost.job_id, old["key_id"])
    await run("act", "tests", "erase", "--status", "failed", "--yes")
    await work()
    last = json.loads((await run("audit-log", "list", "--project", "tests")).splitlines()[0])
    assert (last["action"], last["actor"]["type"]) == ("job.erased", "command")
    assert last["actor"]["request_id"].startswith("act_")


async def test_an_action_of_a_command_is_called_off(bench: Bench, run: Shell, work: Work) -> None:
    await bench.submit()
    named = (await run("act", "tests", "cancel", "--status", "queued", "--yes")).split(":")[0]
    assert "canceled  0 of 1 done" in await run("cancel-action", named)
    await work()
    assert [each["status"] for each in await bench.rows("SELECT status FROM jobs")] == ["queued"]


async def test_an_action_that_is_none_and_a_filter_that_names_nothing_are_refused(
    bench: Bench, run: Shell
) -> None:
    assert len(await bench.rows("SELECT FROM projects")) == 1
    assert "every job there is" in await run("act", "tests", "cancel", "--yes", status=2)
    assert "no id of an action" in await run("cancel-action", "42", status=2)
    nobody = ids.text(ids.ACTION, ids.new())
    assert "There is no such action" in await run("cancel-action", nobody, status=2)


@pytest.mark.parametrize(
    ("option", "written", "told"),
    [
        ("--created-after", "2026-11-22T10:00:00", "no time with a zone"),
        ("--created-before", "yesterday", "no time with a zone"),
        ("--batch", "42", "no id of a batch"),
        ("--metadata", "order", "is not KEY=VALUE"),
        ("--status", "released", "invalid choice"),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused(
    capsys: pytest.CaptureFixture[str], option: str, written: str, told: str
) -> None:
    with pytest.raises(SystemExit):
        parsing.parser().parse_args(["act", "tests", "cancel", option, written])
    assert told in capsys.readouterr().err
