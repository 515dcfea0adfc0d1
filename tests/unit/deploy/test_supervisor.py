"""The local stack's own parts, with tiny processes in the place of the roles."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console
from standardwebhooks import Webhook

from deploy.local import demo, folder, roles
from deploy.local.demo import receiver, timeline
from deploy.local.demo.timeline import Log
from deploy.local.screen import Screen
from deploy.local.supervisor import KeepsDyingError, Patience, Role, Supervisor
from models.settings import LocalSettings

QUICK = Patience(deaths=3, first_pause=timedelta(milliseconds=10))
STAYS = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
    "while True: signal.pause()"
)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Stage:
    """A supervisor with its roles, and what it said."""

    supervisor: Supervisor
    said: list[str]
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


def role(tmp_path: Path, name: str, program: str, grace: float = 5.0) -> Role:
    return Role(
        name=name,
        command=(sys.executable, "-c", program),
        environment={},
        folder=tmp_path,
        log=tmp_path / f"{name}.log",
        ready="",
        grace=timedelta(seconds=grace),
    )


@asynccontextmanager
async def running(*listed: Role) -> AsyncIterator[Stage]:
    said: list[str] = []
    stage = Stage(Supervisor(listed, said.append, patience=QUICK), said)
    run = asyncio.create_task(stage.supervisor.run())
    try:
        async with asyncio.timeout(20):
            for one in listed:
                await until_up(one)
            yield stage
    finally:
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run
        await stage.supervisor.stop(stage.hurry)


async def until_up(one: Role) -> None:
    await until(lambda: one.log.exists() and "up" in one.log.read_text())


async def other_pid(stage: Stage, name: str, before: int) -> int:
    await until(lambda: stage.supervisor.pid(name) not in {None, before})
    return pid_of(stage, name)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # processes and files set no event
            await asyncio.sleep(0.01)


def pid_of(stage: Stage, name: str) -> int:
    pid = stage.supervisor.pid(name)
    assert pid is not None
    return pid


async def test_a_role_that_is_killed_is_started_again_and_it_says_so(tmp_path: Path) -> None:
    async with running(role(tmp_path, "worker", STAYS)) as stage:
        before = pid_of(stage, "worker")
        os.kill(before, signal.SIGKILL)
        after = await other_pid(stage, "worker", before)
        assert alive(after)
        assert stage.said == ["worker was killed by SIGKILL; starting it again in 0.01 s"]
    assert not alive(after)


async def test_a_role_that_dies_at_every_start_ends_it_with_the_end_of_its_log(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    broken = role(tmp_path, "worker", "import sys; sys.exit('no such database')")
    supervisor = Supervisor([broken], said.append, patience=QUICK)
    with pytest.raises(KeepsDyingError, match=r"(?s)worker ended with 1, 3 times.*no such data"):
        await supervisor.run()
    assert len(said) == QUICK.deaths - 1


async def test_a_role_that_has_run_for_long_is_forgiven_earlier_deaths(tmp_path: Path) -> None:
    said: list[str] = []
    ends = role(tmp_path, "worker", "pass")
    forgiving = Patience(deaths=2, steady=timedelta(0), first_pause=timedelta(milliseconds=1))
    supervisor = Supervisor([ends], said.append, patience=forgiving)
    run = asyncio.create_task(supervisor.run())
    await until(lambda: len(said) >= 4)
    assert not run.done()
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run
    await supervisor.stop(asyncio.Event())


async def test_roles_are_told_to_stop_all_at_once(tmp_path: Path) -> None:
    """Each of these stops only when all have been told, by a mark that each leaves."""
    together = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        "    pathlib.Path(f'told-{NAME}').touch()\n"
        "    while len(list(pathlib.Path().glob('told-*'))) < 3: time.sleep(0.01)\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\n"
        "while True: signal.pause()"
    )
    names = ("api", "dispatcher", "worker")
    async with running(
        *(role(tmp_path, name, f"NAME = {name!r}\n{together}", grace=15) for name in names)
    ) as stage:
        pids = [pid_of(stage, name) for name in names]
    assert stage.said == ["stopping api", "stopping dispatcher", "stopping worker"]
    assert not any(alive(pid) for pid in pids)


async def test_what_outlasts_the_others_is_stopped_after_them(tmp_path: Path) -> None:
    listed = [role(tmp_path, name, STAYS) for name in ("simulator", "worker")]
    listed[0] = replace(listed[0], outlasts=True)
    async with running(*listed) as stage:
        pass
    assert stage.said == ["stopping worker", "stopping simulator"]


async def test_a_role_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    async with running(role(tmp_path, "worker", STUBBORN, grace=0.1)) as stage:
        pid = pid_of(stage, "worker")
    assert stage.said[-1] == "worker was killed: it did not stop in time"
    assert not alive(pid)


async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    async with running(role(tmp_path, "worker", STUBBORN, grace=3600)) as stage:
        pid = pid_of(stage, "worker")
        stage.hurry.set()
    assert stage.said[-1] == "worker was killed: it was to stop at once"
    assert not alive(pid)


def test_the_pause_before_a_start_doubles_up_to_five_seconds() -> None:
    pauses = [Patience().pause(deaths).total_seconds() for deaths in (1, 2, 3, 4, 60)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 5.0]


async def test_the_log_of_the_last_stack_is_kept_aside(tmp_path: Path) -> None:
    one = role(tmp_path, "api", STAYS)
    one.log.write_text("the last run\n")
    async with running(one):
        assert "the last run" not in one.log.read_text()
    assert one.log.with_name("api.log.1").read_text() == "the last run\n"


def test_a_log_gives_whole_lines_once_and_only_new_ones(tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    file.write_text(line("job.accepted", job_id="job_0"))
    log = Log(file)
    assert log.news() == []
    whole, half = line("attempt.sent", job_id="job_1", attempt=2), line("image.kept")
    append(file, "not JSON\n[1]\n" + whole + half[:9])
    assert [moment.event for moment in log.news()] == ["attempt.sent"]
    append(file, half[9:])
    assert [moment.event for moment in log.news()] == ["image.kept"]
    assert log.news() == []


def test_a_log_that_is_not_there_yet_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = Log(tmp_path / "late.log")
    assert log.news() == []
    (tmp_path / "late.log").write_text(line("job.accepted"))
    assert [moment.event for moment in log.news()] == ["job.accepted"]


def test_a_timeline_is_in_the_order_of_time_over_all_logs(tmp_path: Path) -> None:
    logs = [Log(tmp_path / "worker.log"), Log(tmp_path / "api.log")]
    late, early = "2026-01-01T00:00:02Z", "2026-01-01T00:00:01Z"
    (tmp_path / "worker.log").write_text(line("attempt.sent", timestamp=late))
    (tmp_path / "api.log").write_text(line("job.accepted", timestamp=early))
    assert [moment.event for moment in timeline.news(logs)] == ["job.accepted", "attempt.sent"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"event": "job.accepted"}, "accepted"),
        ({"event": "job.dispatched"}, "dispatched to a worker"),
        ({"event": "attempt.sent", "attempt": 2}, "sent to the provider, attempt 2"),
        (
            {"event": "image.kept", "width": 2048, "height": 1024, "bytes": 315998},
            "image kept, 2048x1024, 315,998 bytes",
        ),
        ({"event": "job.succeeded", "credits": 91_000}, "charged 91,000 credits ($0.0455)"),
        ({"event": "lease.renewed"}, None),
    ],
)
def test_a_moment_is_told_in_a_few_words(
    fields: dict[str, object], told: str | None, tmp_path: Path
) -> None:
    log = Log(tmp_path / "worker.log")
    (tmp_path / "worker.log").write_text(json.dumps(fields) + "\n")
    assert [timeline.told(moment) for moment in log.news()] == [told]


def test_away_from_a_terminal_the_screen_writes_plain_unbroken_lines() -> None:
    out = StringIO()
    screen = Screen(Console(file=out))
    with screen.progress("working", 2) as advance:
        screen.say("x" * 300, "red")
        screen.step(timedelta(milliseconds=1500), "sent [bold]")
        advance()
    assert out.getvalue() == "x" * 300 + "\n    1.500 s  sent [bold]\n"


def test_the_receiver_agrees_with_the_published_vector() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1a,zzz v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    body = b'{"test": 2432232314}'
    assert receiver.verifies(SECRET, headers, body, now=1614265330)
    assert not receiver.verifies(SECRET, headers, body + b" ", now=1614265330)
    assert not receiver.verifies(SECRET, headers, body, now=1614265330 + 301)
    assert not receiver.verifies(SECRET, headers | {"webhook-timestamp": "x"}, body, now=0)
    assert not receiver.verifies(SECRET, {}, body, now=1614265330)
    assert not receiver.verifies("whsec_!", headers, body, now=1614265330)


def test_the_receiver_agrees_with_the_reference_library() -> None:
    now = datetime.now(UTC)
    body = '{"type":"job.succeeded"}'
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("evt_1", now, body),
    }
    assert receiver.verifies(SECRET, headers, body.encode(), now=now.timestamp())


async def test_the_receiver_keeps_what_verifies_and_refuses_the_rest() -> None:
    body = json.dumps({"type": "job.succeeded", "data": {"id": "job_1"}}).encode()
    forged = body.replace(b"job_1", b"job_2")
    async with receiver.listening(SECRET) as listener, aiohttp.ClientSession() as client:
        assert await post(client, listener.url, forged, signed(body)) == 401
        assert await post(client, listener.url, body, signed(body)) == 204
        async with asyncio.timeout(5):
            event = await listener.event("job_1")
        assert event.type == "job.succeeded"
        assert listener.refused == 1


def test_the_demo_asks_for_the_documentations_example() -> None:
    documented = demo.example(None)["image_urls"]
    assert isinstance(documented, list)
    assert all(url.startswith("https://raw.githubusercontent.com/") for url in documented)
    assert demo.example("http://127.0.0.1:1")["image_urls"] == [
        "http://127.0.0.1:1/reference/t-rex.png",
        "http://127.0.0.1:1/reference/blue-mug.jpg",
    ]


def test_without_a_provider_key_the_roles_call_the_simulator(tmp_path: Path) -> None:
    places = roles.place(settings(), tmp_path, "postgresql://here", "redis://here")
    listed = roles.build(places, tmp_path)
    assert [one.name for one in listed] == ["api", "dispatcher", "worker", "simulator"]
    assert places.environment["AIMLAPI_BASE_URL"] == places.simulator
    assert places.environment["DATABASE_URL"] == "postgresql://here"
    assert places.environment["DARKROOM_SECRET"] == (tmp_path / "secret").read_text().strip()
    assert len({one.environment.get("DARKROOM_METRICS_PORT") for one in listed}) == 3


def test_with_a_provider_key_there_is_no_simulator(tmp_path: Path) -> None:
    places = roles.place(settings(AIMLAPI_KEY="real"), tmp_path, None, None)
    assert places.simulator is None
    assert [one.name for one in roles.build(places, tmp_path)] == ["api", "dispatcher", "worker"]
    assert "91,000 credits ($0.0455)" in demo.price_warning("https://api.example")


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    first = folder.secret(tmp_path / "secret")
    assert len(first) >= 32
    assert folder.secret(tmp_path / "secret") == first


def settings(**given: str) -> LocalSettings:
    empty = {"AIMLAPI_KEY": None, "DATABASE_URL": None, "REDIS_URL": None, "secret": None}
    return LocalSettings.model_validate(empty | given)


def line(event: str, **fields: object) -> str:
    return json.dumps({"event": event, **fields}) + "\n"


def append(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def signed(body: bytes) -> dict[str, str]:
    sent = str(int(datetime.now(UTC).timestamp()))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.digest(key, f"evt_1.{sent}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": sent,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


async def post(
    client: aiohttp.ClientSession, url: str, body: bytes, headers: Mapping[str, str]
) -> int:
    async with client.post(url, data=body, headers=headers) as answer:
        return answer.status


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
