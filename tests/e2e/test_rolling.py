"""Two versions side by side: each process of the one before is replaced by one of this, under load.

`make rolling FROM=HEAD~20`. As Kubernetes does it: the schema first; then of each role a new process, and
when that is ready an old one is told to stop, of an api once nobody is led to it. Nothing may be lost,
unknown, or answered 5xx.
"""

import asyncio
import io
import itertools
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from deploy.local import ports
from tests.conftest import PLAIN
from tests.e2e.stage import MODEL, ROOT, Actor, Stage
from tests.fixtures.debian import program

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

LATENCY = 3  # seconds of a call
ROLES = ("api", "dispatcher", "worker")
EACH = 2
ENDPOINTS_GONE = (
    1.0  # seconds from an api's leaving the balancer to its SIGTERM: `preStopSeconds` is 5
)
LAST = 60.0  # seconds for an old process to stop
SLOW = 120.0  # seconds for a process to start from nothing beside the load


@dataclass
class Customers:
    """Post jobs at a pace to whichever api stands behind the balancer, and follow each to its end."""

    key: str
    pace: float
    accepted: list[str]
    apis: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    _turns: Iterator[int] = field(default_factory=itertools.count)
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    async def come(self) -> None:
        """Post jobs until told to stop, and wait for the last one."""
        async with (
            httpx.AsyncClient(
                trust_env=False,
                verify=PLAIN,
                timeout=70,
                headers={"authorization": f"Bearer {self.key}"},
            ) as client,
            asyncio.TaskGroup() as all_of_them,
        ):
            while not self._told.is_set():
                all_of_them.create_task(self._one(client))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._told.wait(), 1 / self.pace)

    def stop(self) -> None:
        """Let nobody come any more."""
        self._told.set()

    async def _one(self, client: httpx.AsyncClient) -> None:
        body = {"input": {"model": MODEL, "prompt": f"a bicycle [sim: latency={LATENCY}]"}}
        answer = await self._ask(client, "POST", "/v1/jobs", json=body)
        if answer is None or answer.status_code != 202:
            return
        job = answer.json()["id"]
        self.accepted.append(job)
        while True:
            answer = await self._ask(client, "GET", f"/v1/jobs/{job}?wait=20")
            if (
                answer is not None
                and answer.is_success
                and answer.json()["status"] not in {"queued", "running"}
            ):
                self.ends[answer.json()["status"]] += 1
                return

    async def _ask(
        self, client: httpx.AsyncClient, method: str, path: str, **given: object
    ) -> httpx.Response | None:
        api = self.apis[next(self._turns) % len(self.apis)]
        try:
            answer = await client.request(method, f"{api}{path}", **given)  # type: ignore[arg-type] # `json` alone
        except httpx.TransportError as failed:
            self.statuses[type(failed).__name__] += 1
            return None
        self.statuses[f"{answer.status_code // 100}xx"] += 1
        return answer


@pytest.fixture
def before(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """A folder with the code of the version before."""
    revision = str(pytestconfig.getoption("--from") or "HEAD~1")
    packed = subprocess.run(
        [program("git", "git"), "archive", "--format=tar", revision],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path / "before", filter="data")
    return tmp_path / "before"


async def test_a_rolling_restart_loses_nothing(
    mortal: Stage, before: Path, pytestconfig: pytest.Config
) -> None:
    mortal.leave()
    mortal.start("simulator")
    old = {role: started(mortal, role, before) for role in ROLES}
    customers = Customers(mortal.key, float(pytestconfig.getoption("--pace")), mortal.accepted)
    customers.apis += [address(actor) for actor in old["api"]]
    coming = asyncio.create_task(customers.come())
    await asyncio.sleep(3 * LATENCY)
    statuses = [await replaced(mortal, customers, actor) for role in ROLES for actor in old[role]]
    await asyncio.sleep(3 * LATENCY)
    customers.stop()
    await coming
    posted = sum(customers.ends.values())
    calls = len(mortal.calls())
    unknown = mortal.number(
        "SELECT count(*) FROM attempts WHERE charge = 'unknown' OR outcome = 'unknown'"
    )
    print(  # noqa: T201 - the figure
        f"\nrolling restart from {pytestconfig.getoption('--from')}: {posted} jobs of {LATENCY} s, "
        f"{customers.pace:g} a second, {len(statuses)} processes replaced: {dict(customers.ends)}, "
        f"answers {dict(customers.statuses)}, {calls} calls, {unknown} unknown"
    )
    assert statuses == [0] * len(statuses)
    assert set(customers.statuses) == {"2xx"}
    assert set(customers.ends) == {"succeeded"}
    assert (calls, unknown) == (posted, 0)
    assert posted == mortal.number("SELECT count(*) FROM jobs")


def started(stage: Stage, role: str, root: Path) -> Sequence[Actor]:
    """Start processes of a role with the code of a folder."""
    made = [
        stage.begin(role, {"DARKROOM_PORT": str(ports.pick()), "DARKROOM_DRAIN": "5"}, root=root)
        for _ in range(EACH)
    ]
    for actor in made:
        stage.until_ready(actor, SLOW)
    return made


async def replaced(stage: Stage, customers: Customers, old: Actor) -> int:
    """Start a process in place of an old one, and stop that; returns its status."""
    given = {"DARKROOM_PORT": str(ports.pick()), "DARKROOM_DRAIN": "5"}
    fresh = stage.begin(old.name, given)
    await asyncio.to_thread(stage.until_ready, fresh, SLOW)
    if old.name == "api":
        customers.apis.append(address(fresh))
        customers.apis.remove(address(old))
        await asyncio.sleep(ENDPOINTS_GONE)
    return await asyncio.to_thread(old.terminate, LAST)


def address(actor: Actor) -> str:
    """Return where an api answers."""
    return actor.ready.removesuffix("/readyz")
