"""No secret stands in clear in a log, a metric, an error, Redis, or a table."""

import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis
from psycopg import sql
from redis.client import Monitor

from tests.conftest import SECRET
from tests.e2e.stage import KEY, Stage, eventually

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`


@pytest.fixture
def secrets(stage: Stage) -> Mapping[str, str]:
    """Every secret that a Darkroom has, freshly made where that is possible."""
    # Nothing expires here: the receiver knows only the project's secret.
    asked = {"url": stage.receiver.url, "events": ["job.expired"]}
    hook = stage.client.post("/v1/webhooks", json=asked).json()
    old = hook["secret"]
    fresh = stage.client.post(f"/v1/webhooks/{hook['id']}/rotate").json()["secret"]
    made = stage.client.post("/v1/keys", json={"name": "k", "scopes": ["admin"]}).json()["key"]
    database = urlsplit(stage.settings.database_url.get_secret_value()).password
    assert database, "the database asks for a password"
    return {
        "the key in use": stage.key,
        "a fresh key": made,
        "an endpoint's secret": fresh,
        "an endpoint's former secret": old,
        "the project's secret": stage.receiver.secret,
        "the provider's key": KEY,
        "DARKROOM_SECRET": SECRET,
        "the database's password": database,
    }


def test_nothing_that_a_darkroom_leaves_behind_has_a_secret_in_clear(
    stage: Stage, secrets: Mapping[str, str]
) -> None:
    with monitored(stage.redis_url) as said:
        refusals = [provoked.text for provoked in provoke(stage, secrets)]
        paid, refused = stage.submit("ok"), stage.submit("500, moderation_400")
        assert stage.finish(paid).status == "succeeded"
        assert stage.finish(refused).status == "failed"
        told = "SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending')"
        eventually(lambda: stage.number(told) == 0, "everything is delivered")
        eventually(lambda: any("BRPOP" in line for line in said), "Redis tells what it is asked")
    left_behind = {
        "error bodies": refusals,
        "what Redis was asked": said,
        "what Redis has": kept(stage.redis_url),
        "metrics": [metrics(actor.ready) for actor in stage.actors if role(actor.name)],
        "logs": [actor.log.read_text() for actor in stage.actors if role(actor.name)],
        "tables": rows(stage),
    }
    for place, texts in left_behind.items():
        assert texts, f"there are {place}"
        together = "\n".join(texts)
        found = [name for name, secret in secrets.items() if shown_in(together, secret)]
        assert found == [], f"in {place}"


def test_a_secret_is_found_in_whatever_spelling(secrets: Mapping[str, str]) -> None:
    for secret in secrets.values():
        for spelt in (secret, secret.encode().hex(), b64encode(secret.encode()).decode()):
            assert shown_in(f"so it says {spelt}, here", secret)


def shown_in(text: str, secret: str) -> bool:
    """Return whether a text has a secret: as it is, without its prefix, in hex, in base 64."""
    bare = secret.rpartition("_")[2] if secret.startswith(("dr_live_", "whsec_")) else secret
    spellings = (bare, bare.encode().hex(), b64encode(bare.encode()).decode().rstrip("="),
                 secret.encode().hex(), b64encode(secret.encode()).decode().rstrip("="))  # fmt: skip
    return any(each in text for each in spellings)


def role(name: str) -> bool:
    """Return whether a process is ours: the simulator is not."""
    return name != "simulator"


def provoke(stage: Stage, secrets: Mapping[str, str]) -> Iterator[httpx.Response]:
    """Do what goes wrong, with keys that are good and bad."""
    good = secrets["a fresh key"]
    yield stage.client.get("/v1/jobs/job_0")
    yield stage.client.post("/v1/jobs", content=b"{")
    yield stage.client.post("/v1/jobs", json={"input": {"model": "none"}, "secret": 1})
    yield stage.client.post("/v1/webhooks", json={"url": "ftp://localhost"})
    for value in (good[:-1], f"{good}0", good.swapcase(), secrets["an endpoint's secret"]):
        yield stage.client.get("/v1/jobs", headers={"authorization": f"Bearer {value}"})
    yield stage.client.get("/v1/jobs", headers={"authorization": f"Basic {good}"})
    yield stage.client.get(f"/v1/nothing/{stage.accepted[0] if stage.accepted else 'x'}")
    yield stage.client.put("/v1/keys")


def metrics(ready: str) -> str:
    """Read the metrics of the process that is ready there."""
    answer = httpx.get(ready.replace("/readyz", "/metrics"), trust_env=False)
    assert "darkroom_" in answer.text
    return answer.text


@contextmanager
def monitored(url: str) -> Iterator[list[str]]:
    """Collect every command that Redis is given until the block ends."""
    said: list[str] = []
    last = f"ECHO {uuid4()}"

    # It waits without a timeout: one would close the connection at the first quiet moment.
    def listen(monitor: Monitor) -> None:
        for told in monitor.listen():  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            if told["command"] == last:
                return
            said.append(str(told["command"]))

    with redis.Redis.from_url(url) as client, client.monitor() as monitor:
        listening = threading.Thread(target=listen, args=[monitor])
        listening.start()
        try:
            yield said
        finally:
            client.execute_command(*last.split())
            listening.join()


def kept(url: str) -> list[str]:
    """Return every key of Redis, with its value as Redis itself writes it down."""
    with redis.Redis.from_url(url) as client:
        return [f"{key!r} {client.dump(key)!r}" for key in client.scan_iter()] or ["nothing"]


def rows(stage: Stage) -> list[str]:
    """Return every row of every table as text; bytes are in hex."""
    with psycopg.connect(stage.settings.database_url.get_secret_value()) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        return [
            str(row[0])
            for (table,) in tables
            for row in connection.execute(
                sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(table))
            )
        ]
