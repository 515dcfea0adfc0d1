"""Projects and their keys: who is let in, and with what."""

import asyncio

import pytest
from sqlalchemy import text

from models import ids
from models.accounts import api_keys, callers, caps, living, projects
from models.accounts.callers import Caller
from models.errors import InvalidRequest, Misconfigured, NotFound, ScopeMissing, Unauthenticated
from models.platform.db import Transaction
from models.platform.vault import Vault
from models.schema import ApiKey
from models.webhooks.signing import new_secret
from tests.conftest import make_project
from tests.fixtures.making import Bench

_WAITS = """
    SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


async def register(bench: Bench, key: str, *scopes: str) -> ApiKey:
    project_id = bench.caller.project_id
    return await bench.do(lambda tx: api_keys.create_key(tx, project_id, "a key", scopes, key))


async def who(bench: Bench, key: str) -> Caller | None:
    return await bench.do(lambda tx: callers.caller(tx, key))


async def test_a_key_speaks_for_its_project_with_its_scopes(bench: Bench) -> None:
    key = api_keys.new_key()
    made = await register(bench, key, "jobs:read", "jobs:read")

    caller = await who(bench, key)

    assert caller == Caller(bench.caller.project_id, made.id, frozenset({"jobs:read"}), False)  # noqa: FBT003 - as the row says
    caller.demand("jobs:read")
    with pytest.raises(ScopeMissing, match="jobs:write"):
        caller.demand("jobs:write")


async def test_an_admin_may_do_everything(bench: Bench) -> None:
    key = api_keys.new_key()
    await register(bench, key, "admin")
    caller = await who(bench, key)
    assert caller is not None
    caller.demand("webhooks")


async def test_any_slip_of_the_pen_is_nobody(bench: Bench) -> None:
    key = api_keys.new_key()
    await register(bench, key, "admin")
    for at in range(len(key)):
        slip = key[:at] + ("a" if key[at] != "a" else "b") + key[at + 1 :]
        assert await who(bench, slip) is None
    for other in ("", key[:-1], key + "0", key.upper(), "dr_live_", f" {key}", api_keys.new_key()):
        assert await who(bench, other) is None


async def test_a_secret_that_only_looks_right_is_nobody(bench: Bench) -> None:
    """The same public id with another secret and a right checksum: only the hash can tell."""
    key = api_keys.new_key()
    await register(bench, key, "admin")
    await bench.run("UPDATE api_keys SET secret_hash = sha256('another') WHERE name = 'a key'")
    assert await who(bench, key) is None


async def test_only_a_hash_of_the_secret_is_kept(bench: Bench) -> None:
    key = api_keys.new_key()
    await register(bench, key, "admin")
    (row,) = await bench.rows(
        "SELECT row_to_json(k)::text AS row FROM api_keys k WHERE name = 'a key'"
    )
    secret = key.split("_")[3]
    assert secret[:20] not in row["row"]


async def test_a_revoked_key_ends_at_once_and_a_rotated_one_after_its_grace(bench: Bench) -> None:
    revoked, rotated = api_keys.new_key(), api_keys.new_key()
    project_id = bench.caller.project_id
    first, second = [await register(bench, key, "admin") for key in (revoked, rotated)]
    await bench.do(lambda tx: api_keys.expire_key(tx, project_id, first.id))
    await bench.do(lambda tx: api_keys.expire_key(tx, project_id, second.id, 60))

    assert await who(bench, revoked) is None
    assert await who(bench, rotated) is not None
    await bench.run("UPDATE api_keys SET expires_at = expires_at - interval '61 s'")
    assert await who(bench, rotated) is None


async def test_nobody_revokes_a_key_of_another_project(bench: Bench, vault: Vault) -> None:
    stranger, _ = await make_project(bench.database, vault, "other")
    with pytest.raises(NotFound):
        await bench.do(lambda tx: api_keys.expire_key(tx, stranger.project_id, bench.caller.key_id))


async def test_a_key_that_is_registered_again_is_the_same_key(bench: Bench, vault: Vault) -> None:
    key = api_keys.new_key()
    first = await register(bench, key, "admin")
    assert (await register(bench, key, "jobs:read")).id == first.id

    stranger, _ = await make_project(bench.database, vault, "other")
    with pytest.raises(Misconfigured):
        await bench.do(
            lambda tx: api_keys.create_key(tx, stranger.project_id, "theirs", ("admin",), key)
        )
    await bench.do(lambda tx: api_keys.expire_key(tx, bench.caller.project_id, first.id))
    with pytest.raises(Misconfigured):
        await register(bench, key, "admin")


async def test_a_key_is_made_while_a_budget_that_was_to_be_changed_is_made_anew(
    bench: Bench,
) -> None:
    """Whoever changes a budget has the project's row, and wants more of it when the budget has gone."""
    project_id = bench.caller.project_id
    asked = {"id": project_id}

    async def make(tx: Transaction) -> None:
        await api_keys.create_key(tx, project_id, "a key", ("jobs:read",), api_keys.new_key())
        await caps.demand_room_for_key(tx, project_id, 9)

    async with bench.database.transaction() as tx:
        await tx.execute(text("UPDATE projects SET budgeted = true WHERE id = :id"), asked)
        making = asyncio.create_task(bench.do(make))
        while not await bench.rows(_WAITS):  # noqa: ASYNC110 - for Postgres
            await asyncio.sleep(0.01)
        await tx.execute(text("SELECT id FROM projects WHERE id = :id FOR UPDATE"), asked)
    await making
    assert len(await bench.do(lambda tx: api_keys.list_keys(tx, project_id))) == 2


async def test_a_key_that_is_being_revoked_makes_no_other(bench: Bench) -> None:
    """Whoever asks waits for the end of the revocation, and a revocation for whoever has asked before."""
    project_id, key_id = bench.caller.project_id, bench.caller.key_id

    async def make(tx: Transaction) -> None:
        await living.demand(tx, key_id, project_id)
        await api_keys.create_key(tx, project_id, "another", ("admin",), api_keys.new_key())

    async with bench.database.transaction() as tx:
        await make(tx)
        revoking = asyncio.create_task(bench.do(lambda tx: api_keys.revoke_key(tx, key_id)))
        while not await bench.rows(_WAITS):  # noqa: ASYNC110 - for Postgres
            await asyncio.sleep(0.01)
    assert (await revoking).revoked_at is not None
    assert len(await bench.do(lambda tx: api_keys.list_keys(tx, project_id))) == 2
    with pytest.raises(Unauthenticated, match="revoked"):
        await bench.do(make)
    assert len(await bench.do(lambda tx: api_keys.list_keys(tx, project_id))) == 2


async def test_a_key_needs_known_scopes_and_its_form(bench: Bench) -> None:
    with pytest.raises(InvalidRequest, match="jobs:fly"):
        await register(bench, api_keys.new_key(), "jobs:fly")
    with pytest.raises(InvalidRequest):
        await register(bench, api_keys.new_key())
    with pytest.raises(Misconfigured):
        await register(bench, "dr_live_mine", "admin")


async def test_a_project_is_made_once_and_found_by_name_and_id(bench: Bench, vault: Vault) -> None:
    async def create() -> object:
        return await bench.do(lambda tx: projects.create(tx, vault, "shop", new_secret()))

    made = await create()
    assert await create() == made
    assert await bench.do(lambda tx: projects.find(tx, "shop")) == made
    tests = bench.caller.project_id
    by_id = await bench.do(lambda tx: projects.find(tx, ids.text(ids.PROJECT, tests)))
    assert by_id == tests
    with pytest.raises(NotFound, match="create-project"):
        await bench.do(lambda tx: projects.find(tx, "shoppe"))


async def test_a_rotated_webhook_secret_signs_beside_the_new_one_for_a_day(
    bench: Bench, vault: Vault
) -> None:
    project_id = bench.caller.project_id

    async def secrets() -> tuple[str, ...]:
        return await bench.do(lambda tx: projects.webhook_secrets(tx, vault, project_id))

    (old,), fresh = await secrets(), new_secret()
    await bench.do(lambda tx: projects.rotate_webhook_secret(tx, vault, project_id, fresh))
    assert await secrets() == (fresh, old)
    await bench.run("UPDATE projects SET webhook_rotated_at = now() - interval '25 h'")
    assert await secrets() == (fresh,)


async def test_no_webhook_secret_lies_readable_in_the_database(bench: Bench, vault: Vault) -> None:
    secret = new_secret()
    await bench.do(lambda tx: projects.create(tx, vault, "sealed", secret))
    async with bench.database.transaction() as tx:
        kept = await tx.scalar(text("SELECT webhook_secret FROM projects WHERE name = 'sealed'"))
    assert secret.encode() not in bytes(kept)
    assert secret.removeprefix("whsec_").encode() not in bytes(kept)
