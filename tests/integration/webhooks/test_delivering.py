"""A try from end to end: taken, signed, posted to a receiver, and recorded."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prometheus_client import REGISTRY
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from models import ids
from models.platform.together import Lines
from models.states import DeliveryState
from models.webhooks import deliveries, endpoint_secrets, endpoints
from models.webhooks.endpoints import Wish
from tests.fixtures.poison import poison
from tests.fixtures.sending import change, find, finished, registered, wake
from tests.fixtures.spending import House
from worker import deliver
from worker.runtime.context import Finished


@dataclass
class Receiver:
    """A server on 127.0.0.1 that answers every request alike."""

    answer: str = "204 No Content"
    url: str = ""
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[1:-1]
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append((headers, body))
        writer.write(f"HTTP/1.1 {self.answer}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def listening() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.take, "127.0.0.1", 0)
    async with server:
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks"
        yield receiver


async def work(house: House) -> list[str]:
    """Let a worker make every try that is due; returns the states of all deliveries."""
    await deliver.start(house.context, await wake(house.bench))
    await house.context.flight.landed()
    rows = await house.bench.rows("SELECT state FROM deliveries ORDER BY id")
    return [row["state"] for row in rows]


def verifies(public: str, signature: str, headers: dict[str, str], body: bytes) -> None:
    """Verify a `v1a` signature, or raise."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = Ed25519PublicKey.from_public_bytes(b64decode(public.removeprefix("whpk_")))
    key.verify(b64decode(signature.removeprefix("v1a,")), signed)


async def test_during_a_rotation_whoever_has_the_old_or_the_new_secret_can_verify(
    house: House,
) -> None:
    bench, vault = house.bench, house.context.vault
    async with listening() as receiver:
        made, old = await registered(bench, vault, Wish(receiver.url))
        project_id = bench.caller.project_id
        rotated, new = await bench.do(lambda tx: endpoints.rotate(tx, vault, project_id, made.id))
        await finished(bench)
        assert await work(house) == ["delivered"]

    ((headers, body),) = receiver.received
    signatures = headers["webhook-signature"].split(" ")
    assert [each.partition(",")[0] for each in signatures] == ["v1", "v1a", "v1", "v1a"]
    for secret in (old, new):
        assert Webhook(secret).verify(body, headers)["type"] == "job.canceled"
    keys = endpoint_secrets.public_keys(vault, rotated, datetime.now(UTC))
    for public, signature in zip(keys, (signatures[1], signatures[3]), strict=True):
        verifies(public, signature, headers, body)


async def test_a_busy_receiver_pauses_its_lane_for_as_long_as_it_asks(house: House) -> None:
    bench = house.bench
    async with listening() as receiver:
        receiver.answer = "503 Service Unavailable\r\nRetry-After: 900"
        await registered(bench, house.context.vault, Wish(receiver.url))
        await finished(bench)
        assert await work(house) == ["pending"]
        await finished(bench)
        assert await work(house) == ["pending", "pending"]
    assert len(receiver.received) == 1
    (lane,) = await bench.rows(
        "SELECT slow, paused_until - now() > interval '890 s' AS long FROM lanes"
    )
    assert lane == {"slow": True, "long": True}


async def test_a_ping_reaches_a_disabled_endpoint_and_leaves_it_as_it_is(house: House) -> None:
    bench = house.bench
    async with listening() as receiver:
        receiver.answer = "503 Service Unavailable\r\nRetry-After: 900"
        made, secret = await registered(bench, house.context.vault, Wish(receiver.url))
        await change(bench, made, enabled=False)
        project_id = bench.caller.project_id
        delivery_id = await bench.do(lambda tx: deliveries.ping(tx, project_id, made.id))
        assert await work(house) == ["exhausted"]

    ((headers, body),) = receiver.received
    assert Webhook(secret).verify(body, headers)["data"]["endpoint_id"] == ids.text("whk", made.id)
    logged = await bench.do(lambda tx: deliveries.read(tx, project_id, delivery_id))
    assert [(each.http_status, each.result) for each in logged.tries] == [(503, "HTTP 503")]
    assert (await find(bench, made)).failing_since is None
    assert await bench.rows("SELECT 1 FROM lanes") == []


async def test_what_was_called_off_meanwhile_is_not_sent(house: House) -> None:
    bench = house.bench
    async with listening() as receiver:
        made, _ = await registered(bench, house.context.vault, Wish(receiver.url))
        await finished(bench)
        (woken,) = await wake(bench)
        await change(bench, made, enabled=False)
        await deliver.start(house.context, [woken])
        await house.context.flight.landed()
    assert receiver.received == []


def _recorded_alone() -> float:
    name = "darkroom_webhook_recorded_alone_total"
    return REGISTRY.get_sample_value(name, {"cause": "refused"}) or 0


async def test_a_record_that_fails_takes_no_other_of_its_group_along_and_is_told(
    house: House,
) -> None:
    bench, before = house.bench, _recorded_alone()
    async with listening() as receiver:
        await registered(bench, house.context.vault, Wish(receiver.url))
        for _ in range(3):
            await finished(bench)
        rows = await bench.rows("SELECT id FROM deliveries ORDER BY id")
        only_if = "NEW.state = 'delivered'"
        await poison(bench, "deliveries", rows[0]["id"], "UPDATE", only_if=only_if)
        with capture_logs() as logs:
            assert await work(house) == ["sending", "delivered", "delivered"]
    told = [each["reason"] for each in logs if each["event"] == "webhook.recorded_alone"]
    assert told
    assert all("this row is poison" in each for each in told)
    assert _recorded_alone() == before + len(told)


async def test_a_bug_of_ours_is_no_reason_to_record_in_another_way(house: House) -> None:
    async def broken(_: DeliveryState, _tries: Sequence[Finished]) -> dict[Finished, bool]:
        raise RuntimeError("a bug")

    context = replace(house.context)
    context.tries = Lines(broken, most=1)
    async with listening() as receiver:
        await registered(house.bench, house.context.vault, Wish(receiver.url))
        await finished(house.bench)
        with capture_logs() as logs:
            assert await work(replace(house, context=context)) == ["sending"]
    assert "work.failed" in [each["event"] for each in logs]
