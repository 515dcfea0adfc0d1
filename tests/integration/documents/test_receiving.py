"""The Python of docs/receiving-webhooks.md, taken out of the page and sent what Darkroom really sends."""

import json
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from models import ids
from models.accounts import projects
from models.accounts.callers import Caller
from models.platform.db import Database
from models.platform.vault import Vault
from models.schema import Endpoint
from models.settings import Settings
from models.webhooks import deliveries, endpoint_secrets, endpoints
from models.webhooks.deliveries import ClaimedDelivery
from models.webhooks.endpoints import Wish
from models.webhooks.signing import new_keypair, new_secret, sign
from tests.conftest import PLAIN
from tests.fixtures.making import Bench
from tests.fixtures.posting import LEASE, posting

PAGE = Path(__file__).parents[3] / "docs" / "receiving-webhooks.md"
TOO_LATE = -310  # seconds; five minutes, and ten seconds


def block(name: str, folder: Path) -> Path:
    """Take the block that begins with this file's name out of the page, and write it as that file."""
    found = re.search(rf"```python\n(# {re.escape(name)}\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    file = folder / name
    file.write_text(found[1])
    return file


@dataclass(frozen=True)
class Running:
    """The page's receiver, running: where it listens, and what it keeps."""

    url: str
    database: Path
    secret: str

    def events(self) -> list[str]:
        """Read the ids of the events that it took."""
        return [id_ for id_, _ in self._read("SELECT id, 1 FROM darkroom_events ORDER BY id")]

    def jobs(self) -> dict[str, int]:
        """Read the sequence of each job that it keeps."""
        return dict(self._read("SELECT id, sequence FROM darkroom_jobs"))

    def send(
        self,
        parcel: ClaimedDelivery,
        *,
        late: int = 0,
        secrets: Sequence[str] = (),
        signature: str | None = None,
        flip: tuple[str, int] = ("", 0),
    ) -> int:
        """Send what a worker sends: so many seconds late, signed otherwise, or with one bit flipped."""
        id_, sent = ids.text(ids.EVENT, parcel.event_id), int(time.time()) + late
        if signature is None:
            signature = sign(secrets or (self.secret,), id_, sent, parcel.body)
        parts = {"id": id_.encode(), "time": str(sent).encode(), "body": parcel.body}
        if flip[0]:
            changed = bytearray(parts[flip[0]])
            changed[flip[1]] ^= 1
            parts[flip[0]] = bytes(changed)
        headers = [
            (b"webhook-id", parts["id"]),
            (b"webhook-timestamp", parts["time"]),
            (b"webhook-signature", signature.encode()),
        ]
        return httpx.post(
            self.url, content=parts["body"], headers=headers, trust_env=False, verify=PLAIN
        ).status_code

    def forget_jobs(self) -> None:
        """Delete the jobs, and not the events: whoever is handled again is seen."""
        with closing(sqlite3.connect(self.database)) as db, db:
            db.execute("DELETE FROM darkroom_jobs")

    def _read(self, sql: str) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(self.database)) as db:
            return db.execute(sql).fetchall()


@pytest.fixture
async def secret(database: Database, vault: Vault, caller: Caller) -> str:
    async with database.transaction() as tx:
        return (await projects.webhook_secrets(tx, vault, caller.project_id))[0]


@pytest.fixture
def receiver(tmp_path: Path, secret: str) -> Iterator[Running]:
    """The receiver of the page, as somebody would start it, knowing the project's secret."""
    database, log = tmp_path / "receiver.sqlite", tmp_path / "receiver.log"
    with (
        log.open("w") as complaints,
        subprocess.Popen(
            [sys.executable, block("receiver.py", tmp_path)],
            env={"WEBHOOK_SECRET": secret, "DATABASE": str(database), "PORT": "0"},
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            port = re.fullmatch(r"listening on port (\d+)\n", process.stdout.readline())
            assert port is not None, log.read_text()
            yield Running(f"http://127.0.0.1:{port[1]}/", database, secret)
        finally:
            process.terminate()
    assert "Traceback" not in log.read_text()


async def parcels(bench: Bench, vault: Vault) -> list[ClaimedDelivery]:
    """Take what is due as a worker does, in the order in which it arose."""
    async with bench.database.transaction() as tx:
        woken = await deliveries.wake(tx, 100, LEASE, cap=100, rate=1000)
        taken = [await deliveries.take(tx, vault, *each, LEASE) for each in woken.due]
    return sorted((each for each in taken if each is not None), key=lambda each: each.event_id)


async def two_events(
    bench: Bench, vault: Vault, url: str
) -> tuple[ClaimedDelivery, ClaimedDelivery]:
    """Make a job that begins and ends; returns the two webhooks of it."""
    wanted = ("job.running", "job.canceled", "job.failed")
    ref = await bench.running(webhook_url=url, webhook_events=wanted)
    await bench.refuse(ref)
    first, last = await parcels(bench, vault)
    return first, last


def sequence(parcel: ClaimedDelivery) -> int:
    """Read the sequence that a webhook carries."""
    found: int = json.loads(parcel.body)["data"]["sequence"]
    return found


def job(parcel: ClaimedDelivery) -> str:
    """Read the job that a webhook is about."""
    return str(json.loads(parcel.body)["data"]["id"])


async def test_what_a_worker_sends_is_taken(
    settings: Settings, bench: Bench, receiver: Running
) -> None:
    job_id = await bench.submit(webhook_url=receiver.url)
    await bench.cancel(job_id)
    async with posting(settings, lambda _topic, _key: None) as post:
        assert await post.send_due() == 1
    (row,) = await bench.rows("SELECT state, event_id FROM deliveries")
    assert row["state"] == "delivered"
    assert receiver.events() == [ids.text(ids.EVENT, row["event_id"])]
    assert list(receiver.jobs()) == [ids.text(ids.JOB, job_id)]


async def test_an_event_that_comes_twice_is_handled_once(
    bench: Bench, vault: Vault, receiver: Running
) -> None:
    first, last = await two_events(bench, vault, receiver.url)
    assert receiver.send(first) == 204
    receiver.forget_jobs()
    assert receiver.send(first) == 204, "or it would come again"
    assert receiver.jobs() == {}, "it was not handled again"
    assert receiver.send(last) == 204
    assert receiver.events() == [ids.text(ids.EVENT, each.event_id) for each in (first, last)]


async def test_what_is_older_than_what_is_known_is_ignored(
    bench: Bench, vault: Vault, receiver: Running
) -> None:
    first, last = await two_events(bench, vault, receiver.url)
    assert sequence(first) < sequence(last)
    for parcel in (last, first):
        assert receiver.send(parcel) == 204
    assert receiver.jobs() == {job(last): sequence(last)}


async def test_a_job_moves_on_with_each_later_event(
    bench: Bench, vault: Vault, receiver: Running
) -> None:
    for parcel in await two_events(bench, vault, receiver.url):
        assert receiver.send(parcel) == 204
        assert receiver.jobs() == {job(parcel): sequence(parcel)}


async def test_one_bit_flipped_on_the_way_is_refused(
    bench: Bench, vault: Vault, receiver: Running
) -> None:
    first, _ = await two_events(bench, vault, receiver.url)
    for flip in (("id", -1), ("time", -1), ("body", 0), ("body", -1)):
        assert receiver.send(first, flip=flip) == 401, flip
    assert (receiver.events(), receiver.jobs()) == ([], {})


async def test_what_others_sign_and_what_is_old_is_refused(
    bench: Bench, vault: Vault, receiver: Running
) -> None:
    first, _ = await two_events(bench, vault, receiver.url)
    assert receiver.send(first, secrets=(new_secret(),)) == 401
    assert receiver.send(first, secrets=(new_keypair()[0],)) == 401
    assert receiver.send(first, late=TOO_LATE) == 401
    for nonsense in ("", "v1", "v1,!", "v1,é", "v2,AAAA"):
        assert receiver.send(first, signature=nonsense) == 401
    assert (receiver.events(), receiver.jobs()) == ([], {})


async def test_both_secrets_of_a_rotation_are_taken(
    bench: Bench, vault: Vault, receiver: Running
) -> None:
    async with bench.database.transaction() as tx:
        await projects.rotate_webhook_secret(tx, vault, bench.caller.project_id, new_secret())
    first, _ = await two_events(bench, vault, receiver.url)
    assert receiver.send(first, secrets=first.secrets) == 204, "it knows the old one"


async def test_a_ping_is_taken_and_is_no_job(bench: Bench, vault: Vault, receiver: Running) -> None:
    endpoint = await register(bench, vault)
    async with bench.database.transaction() as tx:
        await deliveries.ping(tx, bench.caller.project_id, endpoint.id)
    (ping,) = await parcels(bench, vault)
    assert receiver.send(ping) == 204
    assert (len(receiver.events()), receiver.jobs()) == (1, {})


# With a public key.


async def register(bench: Bench, vault: Vault) -> Endpoint:
    """Register an endpoint for every end of a job."""
    wish = Wish("https://receiver.example/hook")
    async with bench.database.transaction() as tx:
        made, _ = await endpoints.register(tx, vault, bench.caller.project_id, wish)
    return made


@pytest.fixture
def asymmetric(tmp_path: Path) -> ModuleType:
    """The page's verification by public key."""
    spec = spec_from_file_location("asymmetric", block("asymmetric.py", tmp_path))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_a_public_key_verifies_what_an_endpoint_gets(
    bench: Bench, vault: Vault, asymmetric: ModuleType
) -> None:
    endpoint = await register(bench, vault)
    job_id = await bench.submit()
    await bench.cancel(job_id)
    (parcel,) = await parcels(bench, vault)
    keys = endpoint_secrets.public_keys(vault, endpoint, datetime.now(UTC))
    headers = signed(parcel)
    assert asymmetric.verify(keys, headers, parcel.body) == json.loads(parcel.body)
    _, strange = new_keypair()
    assert asymmetric.verify([strange, *keys], headers, parcel.body), "any of them will do"
    flipped = bytes([parcel.body[0] ^ 1, *parcel.body[1:]])
    for known, sent, body in (
        ([strange], headers, parcel.body),
        ([], headers, parcel.body),
        (keys, headers, flipped),
        (keys, headers | {"webhook-id": "evt_other"}, parcel.body),
        (keys, signed(parcel, late=TOO_LATE), parcel.body),
        (
            keys,
            headers | {"webhook-signature": headers["webhook-signature"].split()[0]},
            parcel.body,
        ),
        (keys, {}, parcel.body),
    ):
        with pytest.raises(ValueError, match=r"timestamp|signature|invalid literal"):
            asymmetric.verify(known, sent, body)


async def test_old_and_new_public_keys_verify_while_both_sign(
    bench: Bench, vault: Vault, asymmetric: ModuleType
) -> None:
    endpoint = await register(bench, vault)
    before = endpoint_secrets.public_keys(vault, endpoint, datetime.now(UTC))
    async with bench.database.transaction() as tx:
        rotated, _ = await endpoints.rotate(tx, vault, bench.caller.project_id, endpoint.id)
    await bench.cancel(await bench.submit())
    (parcel,) = await parcels(bench, vault)
    after = endpoint_secrets.public_keys(vault, rotated, datetime.now(UTC))
    for known in (before, after, after[:1]):
        assert asymmetric.verify(known, signed(parcel), parcel.body)


def signed(parcel: ClaimedDelivery, *, late: int = 0) -> dict[str, str]:
    """Return the headers that a worker sends, so many seconds late."""
    id_, sent = ids.text(ids.EVENT, parcel.event_id), int(time.time()) + late
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(sent),
        "webhook-signature": sign(parcel.secrets, id_, sent, parcel.body),
    }
