"""Roles as processes of their own: one that dies is started again, and it says so."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from deploy.local.servers.server import Server, launched, tail
from models.errors import DarkroomError, Misconfigured

_LOOK = 0.05  # seconds between two looks at a process
_PAUSE_CAP = timedelta(seconds=5)
_DOUBLINGS = 16  # beyond any cap, and within what a timedelta holds


class KeepsDyingError(DarkroomError):
    """A role dies at every start: the stack is of no use without it."""


@dataclass(frozen=True)
class Role:
    """One process to keep running.

    `ready` answers 200 once it works; `grace` is the time it has to stop. One that `outlasts` the others is
    stopped after them: they need it to finish what they are at.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    ready: str
    grace: timedelta
    outlasts: bool = False


@dataclass(frozen=True)
class Patience:
    """How often a role may die: `deaths` in a row, each after less than `steady` of running."""

    deaths: int = 5
    steady: timedelta = timedelta(seconds=10)
    first_pause: timedelta = timedelta(milliseconds=200)

    def pause(self, deaths: int) -> timedelta:
        """Return the wait before the start after that many deaths: it doubles, up to 5 s."""
        return min(_PAUSE_CAP, self.first_pause * (1 << min(deaths - 1, _DOUBLINGS)))


class Supervisor:
    """Keeps roles running; they are told to stop in the order in which they are given, all at once."""

    def __init__(
        self,
        roles: Sequence[Role],
        say: Callable[[str], None],
        *,
        servers: Sequence[Server] = (),
        patience: Patience | None = None,
    ) -> None:
        self._roles = tuple(roles)
        self._servers = tuple(servers)
        self._say = say
        self._patience = patience or Patience()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def pid(self, name: str) -> int | None:
        """Return the process id of a role, or None while it does not run."""
        process = self._processes.get(name)
        return process.pid if process is not None and process.poll() is None else None

    async def run(self) -> None:
        """Start every role, and start again what dies, servers too.

        Raises `KeepsDyingError` for a hopeless role, `Misconfigured` for a hopeless server.
        """
        for role in self._roles:
            _turn_over(role.log)
        keepers = [asyncio.create_task(self._keep(role)) for role in self._roles]
        keepers.append(asyncio.create_task(self._guard()))
        try:
            await asyncio.gather(*keepers)
        finally:
            for keeper in keepers:
                keeper.cancel()

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stop all roles, once `run` has ended, and then those that outlast them; by force in a hurry."""
        for last in (False, True):
            stopped = [self._stop(each, hurry) for each in self._roles if each.outlasts is last]
            await asyncio.gather(*stopped)

    async def _stop(self, role: Role, hurry: asyncio.Event) -> None:
        process = self._processes.get(role.name)
        if process is None or process.poll() is not None:
            return
        self._say(f"stopping {role.name}")
        process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(role.grace.total_seconds()):
                await _ended(process, hurry)
        if process.poll() is None:
            why = "it was to stop at once" if hurry.is_set() else "it did not stop in time"
            self._say(f"{role.name} was killed: {why}")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    async def _keep(self, role: Role) -> None:
        deaths = 0
        while True:
            began = time.monotonic()
            process = self._start(role)
            await _ended(process)
            lived = timedelta(seconds=time.monotonic() - began)
            deaths = 1 if lived >= self._patience.steady else deaths + 1
            how = _end(process.returncode)
            if deaths >= self._patience.deaths:
                raise KeepsDyingError(
                    f"{role.name} {how}, {deaths} times in a row; {role.log} ends:\n"
                    f"{tail(role.log)}"
                )
            pause = self._patience.pause(deaths)
            self._say(f"{role.name} {how}; starting it again in {pause.total_seconds():g} s")
            await asyncio.sleep(pause.total_seconds())

    async def _guard(self) -> None:
        while True:
            for server in self._servers:
                if not server.running:
                    self._say(f"{server.name} died; starting it again")
                    # Not in a thread: the server would die with it.
                    server.start()
            await asyncio.sleep(_LOOK)

    def _start(self, role: Role) -> subprocess.Popen[bytes]:
        with role.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  # the project's own roles
                launched(role.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=role.folder,
                env=dict(role.environment),
                start_new_session=True,  # the terminal's Ctrl-C is for us: we stop them in order
            )
        self._processes[role.name] = process
        return process


def prepare(logs: Path) -> None:
    """Make the folder of logs, or raise `Misconfigured`."""
    try:
        logs.mkdir(exist_ok=True)
    except OSError as refused:
        raise Misconfigured(f"cannot write to {logs} ({refused.strerror})") from None


async def _ended(process: subprocess.Popen[bytes], hurry: asyncio.Event | None = None) -> None:
    while process.poll() is None:
        if hurry is not None and hurry.is_set():
            return
        await asyncio.sleep(_LOOK)


def _turn_over(log: Path) -> None:
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))


def _end(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
