"""The image and the Compose file agree with the code; checked without an engine and offline."""

import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import BaseModel

from deploy import healthcheck
from models.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
TOOLS = Path(sys.executable).parent
LOCKS = {
    "everything": ROOT / "requirements.lock",
    "product": ROOT / "deploy" / "requirements-runtime.lock",
    "simulator": ROOT / "deploy" / "simulator" / "requirements.lock",
}
ROLES = {"api": "api", "dispatcher": "worker.dispatcher", "worker": "worker"}
OURS = {*ROLES, "migrate", "simulator"}
SECRETS = {
    "DARKROOM_SECRET": "s" * 32,
    "POSTGRES_PASSWORD": "p" * 32,
    "AIMLAPI_KEY": "a-key",
}


class Dependency(BaseModel):
    condition: str


class Port(BaseModel):
    target: int
    host_ip: str


class Service(BaseModel):
    image: str
    command: list[str] | None = None
    environment: dict[str, str | None] = {}
    ports: list[Port] = []
    depends_on: dict[str, Dependency] = {}
    stop_grace_period: str | None = None
    read_only: bool = False
    cap_drop: list[str] = []
    restart: str


class Stack(BaseModel):
    services: dict[str, Service]


@pytest.fixture(scope="module")
def stack() -> dict[str, Service]:
    return services(SECRETS, "--profile", "simulator")


def test_the_dockerfile_has_no_lint() -> None:
    found = subprocess.run(
        [TOOLS / "hadolint", "--no-color", DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_compose_accepts_its_file_with_the_simulator_and_without() -> None:
    plain = services(SECRETS)
    assert set(plain) == {*ROLES, "migrate", "postgres", "valkey"}
    assert set(services(SECRETS, "--profile", "simulator")) == {*plain, "simulator"}


@pytest.mark.parametrize("missing", SECRETS)
def test_a_missing_secret_is_named_with_what_to_do(missing: str) -> None:
    refused = compose({name: value for name, value in SECRETS.items() if name != missing})
    assert refused.returncode != 0
    assert f"required variable {missing} is missing a value: write" in refused.stderr


def test_every_role_of_the_code_is_started_and_nothing_else(stack: Mapping[str, Service]) -> None:
    commands = {name: service.command or [] for name, service in stack.items() if name in OURS}
    modules = {name: command[2] for name, command in commands.items()}
    assert modules == ROLES | {"migrate": "models", "simulator": "deploy.simulator"}
    for name, module in modules.items():
        assert commands[name][:2] == ["python", "-m"]
        assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()


def test_no_role_starts_before_the_schema_is_there(stack: Mapping[str, Service]) -> None:
    for role in ROLES:
        assert stack[role].depends_on["migrate"].condition == "service_completed_successfully"
    assert stack["migrate"].depends_on["postgres"].condition == "service_healthy"
    assert stack["migrate"].restart == "no"


@pytest.mark.parametrize("role", ROLES)
def test_the_engine_waits_as_long_as_a_role_drains(role: str, stack: Mapping[str, Service]) -> None:
    grace: timedelta = Settings.model_fields["grace"].default
    assert drains(stack[role]) == (grace, grace)
    longer = services(SECRETS | {"DARKROOM_GRACE": "400"})
    assert drains(longer[role]) == (timedelta(seconds=400), timedelta(seconds=400))


def test_only_the_api_has_a_port_and_only_on_this_machine(stack: Mapping[str, Service]) -> None:
    open_to = {
        name: [(port.host_ip, port.target) for port in service.ports]
        for name, service in stack.items()
        if service.ports
    }
    assert open_to == {"api": [("127.0.0.1", Settings.model_fields["port"].default)]}


def test_only_those_who_call_the_provider_know_its_key(stack: Mapping[str, Service]) -> None:
    knowing = {name for name, service in stack.items() if "AIMLAPI_KEY" in service.environment}
    assert knowing == {"dispatcher", "worker"}


def test_our_containers_may_not_write_to_their_image(stack: Mapping[str, Service]) -> None:
    for name in OURS:
        assert (stack[name].read_only, stack[name].cap_drop) == (True, ["ALL"])


def test_every_variable_is_a_setting() -> None:
    known = {
        str(field.validation_alias or f"DARKROOM_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }
    named = re.compile(r"\b(?:DARKROOM|AIMLAPI)_[A-Z_]+\b|\b(?:DATABASE|REDIS)_URL\b")
    for file in (COMPOSE, DOCKERFILE):
        assert set(named.findall(file.read_text())) - known == set()
    interpolated = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    assert interpolated - known == {"POSTGRES_PASSWORD"}


def test_images_of_others_are_pinned_to_a_release(stack: Mapping[str, Service]) -> None:
    others = [service.image for name, service in stack.items() if name not in OURS]
    (base,) = (each.split()[0] for each in instructions("FROM") if ":" in each)
    assert len(others) == 2
    for image in (*others, base):
        assert re.fullmatch(
            r"[a-z/]+:\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?(@sha256:[0-9a-f]{64})?", image
        )
    assert re.match(r"python:3\.11\.\d+-slim-", base)


def test_the_image_runs_as_a_numbered_user_and_serves_the_default_ports() -> None:
    assert instructions("USER") == ["10001:10001"]
    text = DOCKERFILE.read_text()
    for name in ("port", "metrics_port"):
        port = Settings.model_fields[name].default
        assert f"DARKROOM_{name.upper()}={port} " in text
        assert str(port) in instructions("EXPOSE")[0].split()


def test_nothing_reaches_the_build_but_what_it_copies() -> None:
    first, *rest = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    admitted = {line.removeprefix("!").rstrip("/") for line in rest if line.startswith("!")}
    copied = {
        source
        for copy in instructions("COPY")
        if not copy.startswith("--from")
        for source in copy.split()[:-1]
    }
    covered = {each for each in copied for over in admitted if Path(each).is_relative_to(over)}
    assert first == "*"
    assert covered == copied
    assert {
        over for over in admitted if not any(Path(c).is_relative_to(over) for c in copied)
    } == set()
    for each in copied:
        assert (ROOT / each).exists()


def test_the_image_has_the_very_packages_that_were_tested() -> None:
    tested = locked("everything")
    for name in ("product", "simulator"):
        assert locked(name).items() <= tested.items()


def test_the_image_has_every_dependency_and_none_of_the_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    product, tools = locked("product"), project["dependency-groups"]
    for each in project["project"]["dependencies"]:
        assert bare(each) in product
        # What is needed everywhere is installed everywhere.
        assert ";" in each or bare(each) not in conditional("product")
    assert {bare(each) for each in tools["simulator"]} <= set(locked("simulator"))
    both = {"requests"}  # what the exporter of spans calls with, and the provider's example
    for each in (*tools["simulator"], *tools["local"], *tools["dev"]):
        assert not isinstance(each, str) or bare(each) in both or bare(each) not in product


def test_no_lock_names_a_package_index() -> None:
    for lock in LOCKS.values():
        assert re.findall(r"https?://|--(?:extra-)?index|--find-links", lock.read_text()) == []


@pytest.fixture
def answering() -> Iterator[str]:
    """A server that answers `/200` with 200, `/503` with 503; returns its URL."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.removeprefix("/")))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its signature
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_container_is_healthy_when_one_of_its_ports_answers_200(answering: str) -> None:
    healthy, unhealthy, closed = f"{answering}/200", f"{answering}/503", "http://127.0.0.1:1/200"
    assert healthcheck.main([healthy]) == 0
    assert healthcheck.main([closed, healthy]) == 0
    assert healthcheck.main([unhealthy]) == 1
    assert healthcheck.main([closed, unhealthy]) == 1
    assert healthcheck.main([]) == 1


def test_an_unhealthy_container_says_why(
    answering: str, capsys: pytest.CaptureFixture[str]
) -> None:
    healthcheck.main([f"{answering}/503"])
    assert capsys.readouterr().err == f"{answering}/503: answers {HTTPStatus.SERVICE_UNAVAILABLE}\n"


def services(variables: Mapping[str, str], *options: str) -> dict[str, Service]:
    """Let Compose read its file, with these variables and no others."""
    read = compose(variables, *options)
    assert read.returncode == 0, read.stderr
    return Stack.model_validate_json(read.stdout).services


def compose(variables: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # Without `--env-file` it would read the developer's own `.env`.
        [
            *(TOOLS / "docker-compose", "--env-file", "/dev/null", "--file", COMPOSE),
            *(*options, "config", "--format", "json"),
        ],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def drains(service: Service) -> tuple[timedelta, timedelta]:
    """Return how long the process may drain, and how long the engine waits for it."""
    told = service.environment["DARKROOM_GRACE"]
    assert told is not None
    return timedelta(seconds=float(told)), duration(service.stop_grace_period)


def duration(text: str | None) -> timedelta:
    """Read Go's way of writing a duration: `5m30s`."""
    read = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text or "")
    assert read is not None
    minutes, seconds = (int(group or 0) for group in read.groups())
    return timedelta(minutes=minutes, seconds=seconds)


def instructions(name: str) -> list[str]:
    """Return the arguments of every instruction of this name in the Dockerfile."""
    return re.findall(rf"^{name} (.+)$", DOCKERFILE.read_text(), re.MULTILINE)


def locked(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Read a lock: for each package its version and the hashes it may have."""
    text = LOCKS[name].read_text().replace("\\\n", " ")
    return {
        found["name"]: (found["version"], frozenset(re.findall(r"--hash=(\S+)", found["rest"])))
        for found in re.finditer(
            r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?P<rest>.*)$", text, re.MULTILINE
        )
    }


def conditional(name: str) -> set[str]:
    """Return the packages that a lock has for some platforms only."""
    return set(re.findall(r"^([\w.-]+)==\S+ ;", LOCKS[name].read_text(), re.MULTILINE))


def bare(requirement: str) -> str:
    """Return the name that a requirement begins with, as a lock spells it."""
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower()
