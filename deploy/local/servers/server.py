"""A server of ours on one port: started, stopped, killed, frozen and started again."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import ports
from models.errors import Misconfigured

SAME_ACCOUNT = "same"
_LAUNCH = str(Path(__file__).with_name("launch.py"))
_LOOK = 0.02  # seconds between two looks at a process that starts or stops
_START_TIMEOUT = 60.0  # recovery after a crash reads the log of all that happened since
_STOP_TIMEOUT = 20.0
# PGDATA, LANG or LD_PRELOAD of our own environment must not reach a server.
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"}


@dataclass
class Server:
    """One server process, which keeps its port and its data over any number of starts.

    `home` is the working directory of each of its processes. It dies with the *thread* that
    started it (PR_SET_PDEATHSIG, prctl(2)): start it from one that outlives it.
    """

    name: str
    url: str
    port: int
    command: tuple[str, ...]
    home: Path
    log: Path
    stop_signal: signal.Signals
    answers: Callable[[str], bool]
    account: str = SAME_ACCOUNT
    before: Callable[[], None] = lambda: None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The process's id; raises `RuntimeError` when it was never started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers; raises `Misconfigured` when it does not."""
        self._end_leftovers()
        self.before()
        if not ports.is_free(self.port):
            raise Misconfigured(
                f"port {self.port} for {self.name} is taken; stop what uses it and start again"
            )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own binaries, by full path
                launched(self.command, account=self.account, death_signal=self.stop_signal),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=_ENVIRONMENT,
                start_new_session=True,  # the terminal's Ctrl-C is for us, not for the server
            )
        ready = wait_until(lambda: not self.running or self.answers(self.url), _START_TIMEOUT)
        if not ready or not self.running:
            self.kill()
            raise Misconfigured(f"{self.name} does not start; {self.log} ends:\n{tail(self.log)}")

    def stop(self) -> None:
        """Stop it in good order, or by force when that takes too long."""
        if self._process is None:
            return
        if self.running:
            self.resume()
            self._process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL, and wait until none of its processes is left."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._end_leftovers()

    def restart(self) -> None:
        """Stop it and start it again, on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze all of its processes: connections stay open, and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume frozen processes."""
        self._signal_all(signal.SIGCONT)

    def _end_leftovers(self) -> None:
        """End what an earlier start left behind; the folder is ours, so nobody else's is here."""
        for how in (self.stop_signal, signal.SIGKILL):
            if not processes_in(self.home):
                return
            self._signal_all(how)
            wait_until(lambda: not processes_in(self.home), _STOP_TIMEOUT)

    def _signal_all(self, sent: signal.Signals) -> None:
        own = {self._process.pid} if self._process is not None and self.running else set()
        for pid in own | processes_in(self.home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)


def launched(
    command: tuple[str, ...],
    *,
    account: str = SAME_ACCOUNT,
    death_signal: signal.Signals = signal.SIGKILL,
) -> tuple[str, ...]:
    """Wrap a command so that it gets `death_signal` when the thread that starts it ends."""
    launcher = (sys.executable, "-I", "-S", _LAUNCH)
    return (*launcher, str(os.getpid()), str(int(death_signal)), account, *command)


def wait_until(holds: Callable[[], bool], timeout: float) -> bool:
    """Wait until the condition holds; return False when it does not within `timeout` seconds."""
    never = threading.Event()
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            return False
        never.wait(_LOOK)
    return True


def processes_in(folder: Path) -> set[int]:
    """Find the live processes whose working directory is the folder (Linux; elsewhere none)."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # not ours, or gone meanwhile; a zombie has no cwd
            if (entry / "cwd").readlink() == folder:
                found.add(int(entry.name))
    return found


def tail(log: Path, lines: int = 10) -> str:
    """Return the last lines of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
