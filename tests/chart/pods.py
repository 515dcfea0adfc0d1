"""Pods as processes: rendered command and environment, read-only root, until they are drained.

What a cluster gives a pod stands here in its place: real servers, files for its Secret, a folder for its
bucket, and ports of this machine, which all pods share.
"""

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg

from deploy.local import ports
from deploy.simulator import Running
from tests.chart import charts
from tests.chart.test_chart import PLAIN
from tests.conftest import PLAIN as NO_TLS
from tests.e2e.stage import MODEL, eventually
from tests.fixtures.databases import Databases
from tests.fixtures.pages import ROOT

SECRET, KEY = "s" * 40, "simulator-key"
# Private mounts, of which only the pod's own can be written to.
_READ_ONLY = "mount --bind {own} {own} && mount -o remount,bind,ro / && exec {command}"
_ISOLATES = ("unshare", "--mount", "--propagation", "private")


@dataclass
class Cluster:
    """Where pods run."""

    folder: Path
    secrets: Mapping[str, str]
    provider: str
    pods: Mapping[str, Any]
    ports: Mapping[str, int] = field(
        default_factory=lambda: {role: ports.pick() for role in ("api", "dispatcher", "worker")}
    )

    def environment(self, role: str) -> dict[str, str]:
        """Return a container's environment, and nothing of ours but where Python is."""
        given = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOSTNAME": f"{role}-0"}
        for each in self.container(role)["env"]:
            value = each.get("value")
            if value is None:
                value = self.secrets.get(each["valueFrom"]["secretKeyRef"]["key"])
            if value is not None:
                given[each["name"]] = value.replace(
                    "/run/secrets/darkroom", str(self.folder / "secrets")
                )
        if role != "migrate":
            given |= self._here(role)
        return given

    def _here(self, role: str) -> dict[str, str]:
        """Return what one machine asks for instead: its ports, its addresses, its folder."""
        return {
            "DARKROOM_HOST": "127.0.0.1",
            "DARKROOM_METRICS_HOST": "127.0.0.1",
            "DARKROOM_PORT": str(self.ports["api"]),
            "DARKROOM_METRICS_PORT": str(self.ports[role]) if role != "api" else "9090",
            "DARKROOM_STORAGE_URL": str(self.folder / "own" / "images"),
            "AIMLAPI_BASE_URL": self.provider,
            "DARKROOM_EGRESS_ALLOW": "127.0.0.0/8",
            "TMPDIR": str(self.folder / "own"),
        }

    def container(self, role: str) -> Any:  # noqa: ANN401 - YAML
        """Return the one container of a role's pod."""
        return self.pods[role]["spec"]["containers"][0]

    def run(self, role: str, *command: str) -> str:
        """Run a command in a pod, to its end; returns what it printed."""
        given = command or tuple(self.container(role)["command"])
        ran = subprocess.run(
            self._wrapped(given), env=self.environment(role), cwd=ROOT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    @contextmanager
    def running(self, role: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a role until it is stopped."""
        command = self._wrapped(self.container(role)["command"])
        with (self.folder / f"{role}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=self.environment(role), cwd=ROOT, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _wrapped(self, command: Sequence[str]) -> list[str]:
        own = self.folder / "own"
        if not isolates():
            return list(command)
        inside = _READ_ONLY.format(own=shlex.quote(str(own)), command=shlex.join(command))
        return [*_ISOLATES, "sh", "-c", inside]

    def probe(self, role: str, which: str) -> int:
        """Ask as the kubelet would; 0 where nobody answers."""
        path = self.container(role)[f"{which}Probe"]["httpGet"]["path"]
        try:
            return httpx.get(
                f"http://127.0.0.1:{self.ports[role]}{path}", trust_env=False, verify=NO_TLS
            ).status_code
        except httpx.TransportError:
            return 0

    def answers(self, role: str, which: str, status: int) -> bool:
        """Return whether a role answers a probe with this."""
        return self.probe(role, which) == status


Made = TypeVar("Made", bound=Cluster)


def isolates() -> bool:
    """Return whether a mount of our own can be made read-only here."""
    tried = [*_ISOLATES, "sh", "-c", "mount -o remount,bind,ro /"]
    return (
        sys.platform == "linux"
        and os.geteuid() == 0
        and subprocess.run(tried, check=False).returncode == 0
    )


@contextmanager
def opened(
    made: Callable[..., Made],
    folder: Path,
    databases: Databases,
    redis: str,
    provider: str,
    secrets_as: str,
) -> Iterator[Made]:
    """Open a cluster with an empty database, and its Secret as variables or as files."""
    with databases.own() as url:
        migrate_down(url)
        secrets = {
            "DATABASE_URL": url,
            "REDIS_URL": redis,
            "DARKROOM_SECRET": SECRET,
            "AIMLAPI_KEY": KEY,
        }
        for each in ("secrets", "own"):
            (folder / each).mkdir()
        for name, value in secrets.items():
            (folder / "secrets" / name).write_text(value)
        given = PLAIN | {"secrets": {"existingSecret": "darkroom", "as": secrets_as}}
        yield made(folder, secrets, provider, pods(given))


def pods(given: charts.Values) -> Mapping[str, Any]:
    """Render the pods by the name of who makes them."""
    made: list[Any] = [
        each for each in charts.manifests(given) if each["kind"] in ("Deployment", "Job")
    ]
    return {
        each["metadata"]["name"].removeprefix("darkroom-"): each["spec"]["template"]
        for each in made
    }


def migrate_down(url: str) -> None:
    """Take the schema away that a test's database comes with."""
    with psycopg.connect(url) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


async def play(cluster: Cluster, provider: Running) -> None:
    """Bring a migration and every role up, make a picture, and stop a worker in the middle of its call."""
    with (
        cluster.running("api") as api,
        cluster.running("dispatcher") as dispatcher,
        cluster.running("worker") as worker,
    ):
        # They wait for the schema, and live.
        await up(cluster, "api", "dispatcher", "worker", ready=503)
        await asyncio.to_thread(cluster.run, "migrate")
        await up(cluster, "api", "dispatcher", "worker", ready=200)
        command = ("api", "python", "-m", "models")
        await asyncio.to_thread(cluster.run, *command, "create-project", "shop")
        scopes = ("--scope", "jobs:write", "--scope", "jobs:read")
        key = await asyncio.to_thread(cluster.run, *command, "create-key", "shop", *scopes)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{cluster.ports['api']}", trust_env=False, verify=NO_TLS,
            headers={"Authorization": f"Bearer {key}"}, timeout=70,
        ) as client:  # fmt: skip
            asked = {"input": {"model": MODEL, "prompt": "a lighthouse"}}
            job = (await client.post("/v1/jobs", json=asked)).raise_for_status().json()["id"]
            await reached(lambda: len(provider.world.calls.all) == 1, "its call is under way")
            worker.terminate()
            assert await ended(worker) == 0  # after its call
            job = (await client.get(f"/v1/jobs/{job}")).raise_for_status().json()
            assert (job["status"], job["cost"]["charged"]) == ("succeeded", 91_000)
            picture = await client.get(
                job["result"]["data"][0]["url"].replace("https://darkroom.example.com", "")
            )
            assert picture.status_code == 200
        assert len(provider.world.calls.all) == 1
        stop = cluster.container("api")["lifecycle"]["preStop"]["exec"]["command"]
        assert (await asyncio.to_thread(subprocess.run, stop, check=False)).returncode == 0
        assert cluster.probe("api", "readiness") == 200
        for process in (api, dispatcher):
            process.terminate()
        assert (await ended(api), await ended(dispatcher)) == (0, 0)


async def reached(holds: Callable[[], bool], what: str) -> None:
    """Wait in a thread: the provider answers in this one."""
    await asyncio.to_thread(eventually, holds, what, 90)


async def up(cluster: Cluster, *roles: str, ready: int) -> None:
    """Wait until every role lives, and answers this to readiness."""
    for role in roles:
        for which, status in (("liveness", 200), ("readiness", ready)):
            answers = partial(cluster.answers, role, which, status)
            await reached(answers, f"{role} answers {status} to {which}")


async def ended(process: "subprocess.Popen[bytes]") -> int:
    """Return the status of a process that was told to stop."""
    return await asyncio.to_thread(process.wait, 60)
