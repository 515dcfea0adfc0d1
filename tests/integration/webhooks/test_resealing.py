"""Resealing: after a rotation of DARKROOM_SECRET everything opens without the old one."""

import asyncio
from datetime import UTC, datetime

import pytest

from models import __main__ as commands
from models import ids
from models.accounts import projects
from models.errors import Misconfigured
from models.platform.db import Database, premises
from models.platform.vault import Unopenable, Vault
from models.schema import Endpoint
from models.webhooks import endpoint_secrets, endpoints, resealing, signing
from models.webhooks.endpoints import Wish
from models.webhooks.resealing import Resealed
from tests.conftest import SECRET
from tests.fixtures.making import Bench
from tests.fixtures.sending import URL, find, registered

NEW = "another-secret-another-secret-another-secret"
BOTH, ALONE = Vault(NEW, SECRET), Vault(NEW)


async def rotate(bench: Bench, vault: Vault, made: Endpoint) -> None:
    project_id = bench.caller.project_id
    await bench.do(lambda tx: endpoints.rotate(tx, vault, project_id, made.id))
    fresh = signing.new_secret()
    await bench.do(lambda tx: projects.rotate_webhook_secret(tx, vault, project_id, fresh))


async def opened(bench: Bench, vault: Vault, made: Endpoint) -> tuple[tuple[str, ...], ...]:
    """Open everything that signs for a project, with this vault."""
    project_id = bench.caller.project_id
    own = await bench.do(lambda tx: projects.webhook_secrets(tx, vault, project_id))
    return own, endpoint_secrets.secrets(vault, await find(bench, made), datetime.now(UTC))


async def test_everything_is_resealed_and_a_second_time_changes_nothing(
    bench: Bench, vault: Vault
) -> None:
    made, _ = await registered(bench, vault, Wish(URL))
    deleted, _ = await registered(bench, vault, Wish(URL + "/deleted"))
    await bench.do(lambda tx: endpoints.remove(tx, bench.caller.project_id, deleted.id))
    await rotate(bench, vault, made)
    before = await opened(bench, vault, made)
    with pytest.raises(Unopenable):
        await opened(bench, ALONE, made)

    assert await resealing.reseal(bench.database, BOTH) == Resealed(3, 3, ())

    assert await opened(bench, ALONE, made) == before
    assert [len(each) for each in before] == [2, 4]
    assert await resealing.reseal(bench.database, ALONE) == Resealed(3, 0, ())


async def test_two_secrets_are_told_apart_before_anything_is_sealed(
    database: Database, vault: Vault
) -> None:
    async def start(as_: Vault) -> None:
        async with database.transaction() as tx:
            await premises.demand_secret(tx, as_)

    await start(vault)
    with pytest.raises(Misconfigured, match="the other roles of this database"):
        await start(ALONE)
    await start(BOTH)
    await start(vault)
    assert await resealing.reseal(database, BOTH) == Resealed(0, 0, ())
    await start(ALONE)
    with pytest.raises(Misconfigured, match="the other roles of this database"):
        await start(vault)


async def test_many_are_resealed_in_small_transactions(
    bench: Bench, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "_BATCH", 2)
    for n in range(5):
        await registered(bench, vault, Wish(f"{URL}/{n}"))
    assert await resealing.reseal(bench.database, BOTH) == Resealed(6, 6, ())


async def test_what_does_not_open_is_named_and_left_as_it_is(bench: Bench, vault: Vault) -> None:
    made, _ = await registered(bench, vault, Wish(URL))
    stranger, _ = await registered(bench, Vault("x" * 40), Wish(URL + "/x"))

    done = await resealing.reseal(bench.database, BOTH)

    assert done == Resealed(3, 2, (ids.text(ids.ENDPOINT, stranger.id),))
    assert (await find(bench, stranger)).secret == stranger.secret
    assert await opened(bench, ALONE, made)


async def test_an_old_secret_that_signs_no_more_is_dropped(bench: Bench, vault: Vault) -> None:
    made, _ = await registered(bench, vault, Wish(URL))
    await rotate(bench, vault, made)
    await bench.run("UPDATE endpoints SET rotated_at = now() - interval '25 h'")
    await resealing.reseal(bench.database, BOTH)
    assert (await find(bench, made)).secret_old is None


async def test_a_rotation_at_the_same_time_is_never_undone(bench: Bench, vault: Vault) -> None:
    made = [(await registered(bench, vault, Wish(f"{URL}/{n}")))[0] for n in range(6)]
    project_id = bench.caller.project_id

    async def rotated(each: Endpoint) -> str:
        return (await bench.do(lambda tx: endpoints.rotate(tx, BOTH, project_id, each.id)))[1]

    *fresh, first, second = await asyncio.gather(
        *(rotated(each) for each in made),
        resealing.reseal(bench.database, BOTH),
        resealing.reseal(bench.database, BOTH),
    )

    assert isinstance(first, Resealed)
    assert isinstance(second, Resealed)
    assert first.shut == second.shut == ()
    await resealing.reseal(bench.database, BOTH)
    for each, secret in zip(made, fresh, strict=True):
        signs = endpoint_secrets.secrets(ALONE, await find(bench, each), datetime.now(UTC))
        assert (signs[0], len(signs)) == (secret, 4)


def test_the_command_says_how_many_and_fails_on_what_does_not_open(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "DATABASE_URL": database_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DARKROOM_SECRET": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    assert commands.main(["create-project", "shop"]) == 0
    project = capsys.readouterr().out.strip()
    monkeypatch.setenv("DARKROOM_SECRET", NEW)
    assert commands.main(["create-project", "other"]) == 2, "no role could start afterwards"
    assert "DARKROOM_SECRET is not the one that sealed" in capsys.readouterr().err
    assert commands.main(["reseal"]) == 1
    assert project in capsys.readouterr().out
    monkeypatch.setenv("DARKROOM_SECRET_OLD", SECRET)
    assert commands.main(["reseal"]) == 0
    assert capsys.readouterr().out == "resealed 1 of 1 projects and endpoints\n"
    monkeypatch.delenv("DARKROOM_SECRET_OLD")
    assert commands.main(["reseal"]) == 0
    assert capsys.readouterr().out == "resealed 0 of 1 projects and endpoints\n"
