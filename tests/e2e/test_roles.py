"""Roles that cannot start, and roles that must wait: each says in one line what to do."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from deploy.local import ports
from deploy.local.servers import postgres
from deploy.local.servers.server import launched
from models.accounts import api_keys
from models.platform.db import migrate
from tests.conftest import PLAIN, make_settings
from tests.e2e import deaf
from tests.e2e.stage import ROOT, START, eventually, role_environment

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

WORKER, DISPATCHER, API = ("worker",), ("worker.dispatcher",), ("api",)


@dataclass(frozen=True)
class Refusal:
    """A role, what is wrong in its environment (None: not set), and words of the one line."""

    role: tuple[str, ...]
    wrong: Mapping[str, str | None]
    says: tuple[str, ...]


REFUSALS = {
    "a worker without the provider's key": Refusal(
        WORKER, {"AIMLAPI_KEY": None}, ("AIMLAPI_KEY is not set", "make up")
    ),
    "a dispatcher without the provider's key": Refusal(
        DISPATCHER, {"AIMLAPI_KEY": None}, ("AIMLAPI_KEY is not set",)
    ),
    "an api without a secret": Refusal(
        API, {"DARKROOM_SECRET": None}, ("DARKROOM_SECRET: not set",)
    ),
    "a worker with a secret that is too short": Refusal(
        WORKER, {"DARKROOM_SECRET": "short"}, ("DARKROOM_SECRET", "32")
    ),
    "an api on a taken port": Refusal(
        API, {"DARKROOM_PORT": "TAKEN"}, ("port TAKEN", "DARKROOM_PORT")
    ),
    "a dispatcher on a taken port": Refusal(
        DISPATCHER, {"DARKROOM_METRICS_PORT": "TAKEN"}, ("port TAKEN", "DARKROOM_METRICS_PORT")
    ),
}


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, and what it said on stderr."""

    status: int
    said: str
    taken: str


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, redis_server: str
) -> Mapping[str, Ended]:
    """Start every role that must refuse at once; return how each ended."""
    folder = tmp_path_factory.mktemp("roles")
    environment = _environment(folder, postgres_server, redis_server)
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        taken = str(occupant.getsockname()[1])
        stands_for = {"TAKEN": taken}
        started = {
            name: _start(refusal, environment, stands_for) for name, refusal in REFUSALS.items()
        }
        said = {name: process.communicate(timeout=60)[1] for name, process in started.items()}
    return {name: Ended(started[name].returncode, said[name], taken) for name in REFUSALS}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_refuses_to_start_in_one_line(ended: Mapping[str, Ended], case: str) -> None:
    refusal, end = REFUSALS[case], ended[case]
    (line,) = end.said.splitlines()
    assert end.status == 2
    assert line.startswith(f"darkroom {refusal.role[0].rpartition('.')[2]}: ")
    for words in refusal.says:
        assert words.replace("TAKEN", end.taken) in line


def test_an_api_on_a_database_without_the_schema_is_not_ready(
    tmp_path: Path, postgres_server: str, redis_server: str, company: "Company"
) -> None:
    api = company.api(_environment(tmp_path, postgres_server, redis_server))
    eventually(lambda: _status(f"{api}/healthz") == 200, "the api lives", START)
    answer = _ask(f"{api}/readyz")
    assert answer.status_code == 503
    assert "python -m models migrate" in answer.json()["detail"]


@pytest.mark.long
def test_every_role_waits_for_postgres_and_its_schema_and_says_so_and_ends_without_it(
    tmp_path: Path, redis_server: str, company: "Company"
) -> None:
    with postgres.serve(tmp_path / "postgres", durable=False) as server:
        server.stop()
        environment = _environment(tmp_path, server.url, redis_server)
        api = company.api(environment)
        others = [company.start(role, environment) for role in (WORKER, DISPATCHER)]
        waiting = [company.folder / "api.log", *others]
        eventually(lambda: _all_say(waiting, "waiting.postgres"), "all wait", START)
        for address in (api, *company.addresses):
            assert _status(f"{address}/healthz") == 200, "nobody restarts who waits"
        for address in company.addresses:
            assert _status(f"{address}/readyz") == 503
        key = {"authorization": f"Bearer {api_keys.new_key()}"}
        refused = _ask(f"{api}/v1/jobs", key)
        assert refused.status_code == 503
        assert refused.headers["content-type"] == "application/problem+json"
        assert "retry-after" in refused.headers

        server.start()
        eventually(lambda: _all_say(waiting, "waiting.schema"), "all wait for the schema")
        assert _all_say(waiting, "python -m models migrate")
        migrate.migrate(server.url)

        eventually(lambda: _all_say(others, '.started"'), "both have started")
        eventually(
            lambda: {_status(f"{each}/readyz") for each in company.addresses} == {200},
            "both are ready",
        )
        eventually(
            lambda: _ask(f"{api}/v1/jobs", key).status_code == 401,
            "the api looks keys up",
        )

        server.pause()
        threading.Event().wait(1.5)  # in which each duty meets the frozen server
        for process in company.processes:
            process.terminate()
        assert [process.wait(25) for process in company.processes] == [0, 0, 0]


@pytest.mark.long
def test_a_worker_whose_consumer_hears_nothing_from_a_redis_that_answers_is_not_healthy(
    tmp_path: Path, database_url: str, redis_server: str, company: "Company"
) -> None:
    with deaf.proxy(redis_server) as redis:
        environment = _environment(tmp_path, database_url, redis.url)
        said = company.start(WORKER, {**environment, "DARKROOM_DEAF_AFTER": "2"})
        (worker,) = company.addresses
        eventually(lambda: " ready." in said.read_text(), "it consumes", START)

        redis.everybody.set()
        silence = threading.Event()
        silence.wait(3)
        assert _status(f"{worker}/healthz") == 200, "a restart does not bring Redis back"

        redis.consumer.set()
        redis.everybody.clear()
        eventually(lambda: _status(f"{worker}/healthz") == 503, "its consumer is reported")
        detail = httpx.get(f"{worker}/healthz").json()["detail"]
        assert "the consumer gets no answer from Redis" in detail
        assert _status(f"{worker}/readyz") == 200
        assert "Traceback" not in said.read_text()


@dataclass
class Company:
    """Processes that are killed when the test is over."""

    folder: Path
    processes: "list[subprocess.Popen[str]]"
    addresses: list[str] = field(default_factory=list)  # of what is no api

    def api(self, environment: Mapping[str, str]) -> str:
        """Start an api; returns its address."""
        port = str(ports.pick())
        self.start(API, {**environment, "DARKROOM_PORT": port})
        return f"http://127.0.0.1:{port}"

    def start(self, role: tuple[str, ...], environment: Mapping[str, str]) -> Path:
        """Start a role; returns its log."""
        path, port = self.folder / f"{role[0]}.log", ports.pick()
        if role != API:
            self.addresses.append(f"http://127.0.0.1:{port}")
        with path.open("w") as log:
            self.processes.append(
                subprocess.Popen(
                    launched((sys.executable, "-m", *role)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    text=True,
                    cwd=ROOT,
                    env={"DARKROOM_METRICS_PORT": str(port), **environment},
                )
            )
        return path


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    started = Company(tmp_path, [])
    yield started
    for process in started.processes:
        process.kill()
        process.wait()


def _start(
    refusal: Refusal, environment: Mapping[str, str], stands_for: Mapping[str, str]
) -> "subprocess.Popen[str]":
    changes = {name: stands_for.get(value or "", value) for name, value in refusal.wrong.items()}
    wrong = {"DARKROOM_METRICS_PORT": str(ports.pick()), **environment, **changes}
    return subprocess.Popen(
        launched((sys.executable, "-m", *refusal.role)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in wrong.items() if value is not None},
    )


def _environment(folder: Path, database_url: str, redis_url: str) -> dict[str, str]:
    settings = make_settings(
        database_url=database_url, redis_url=redis_url, storage_url=str(folder / "images")
    )
    return role_environment(settings, {})


def _all_say(logs: Sequence[Path], words: str) -> bool:
    return all(words in log.read_text() for log in logs)


def _ask(url: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=30, verify=PLAIN)


def _status(url: str) -> int:
    try:
        return _ask(url).status_code
    except httpx.HTTPError:
        return 0
