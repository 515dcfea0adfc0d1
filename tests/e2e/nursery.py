"""Roles that are born loaded: forked from a process that has imported their libraries already.

A role's start is a second and a half of imports, and a run of the tests has some fifty. What is forked
runs `python -m <role>` from there on: own process, own session, own environment, own log. How roles
start from nothing is what `test_roles.py` and `test_demo.py` are about.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

# Libraries alone, whose import leaves nothing running: our modules count and connect.
_LIBRARIES = (
    "aiohttp.web", "celery.app.base", "celery.apps.worker", "celery.concurrency.thread",
    "fastapi", "jsonschema", "kombu.transport.redis", "obstore", "PIL.Image",
    "prometheus_client", "psycopg", "pydantic_settings",
    "redis.asyncio", "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.ext.asyncio", "structlog",
    "uvicorn.main", "uvloop",
)  # fmt: skip
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_MESSAGE = 256 * 1024  # bytes of an order, most of them its environment
_BIRTH = 60.0  # seconds; the first one waits for the imports


class Born:
    """A process of a role, with as much of `Popen` as tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit status, a signal as a negative number; None while it lives."""
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
                    os.close(self._ended)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired` after so many seconds."""
        if self.poll() is None:
            ending = select.poll()
            ending.register(self._ended, select.POLLIN)
            ending.poll(None if timeout is None else timeout * 1000)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return status

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that roles are forked from; each is a child of this process, and dies with it."""

    def __init__(self, folder: Path) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_BIRTH)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                (sys.executable, "-u", "-m", "tests.e2e.nursery", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                cwd=folder,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    def bear(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: int
    ) -> Born:
        """Run a module as a program in a new process, its output into the file `log`."""
        order = json.dumps([os.getpid(), module, list(arguments), dict(environment)]).encode()
        with self._lock:
            # For this moment orphans come to us: the forked one, whose parent has ended.
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
            try:
                socket.send_fds(self._socket, [order], [log])
                return Born(int(self._socket.recv(64)))
            finally:
                ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0)

    def close(self) -> None:
        """End it; those who were born go on."""
        self._socket.close()
        self._process.wait()


def _serve(orders: socket.socket) -> tuple[str, list[str]]:
    """Fork for each order; comes back in the forked process alone, with what it has to run."""
    for library in _LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # a collection would copy every page it looks at
    while True:
        order, fds, _, _ = socket.recv_fds(orders, _MESSAGE, 1)
        if not order:
            sys.exit(0)
        parent, module, arguments, environment = json.loads(order)
        told, tell = os.pipe()
        go, begin = os.pipe()
        middle = os.fork()
        if middle == 0:
            if born := os.fork():
                os.write(tell, str(born).encode())
                os._exit(0)
            os.close(begin)
            os.read(go, 1)  # until nobody can write to it any more
            _become(parent, environment, fds[0])
            orders.close()
            for fd in (told, tell, go, fds[0]):
                os.close(fd)
            return module, arguments
        os.waitpid(middle, 0)  # from here on the other one is the tests' child
        os.close(begin)
        orders.send(os.read(told, 64))
        for fd in (told, tell, go, fds[0]):
            os.close(fd)


def _become(parent: int, environment: Mapping[str, str], log: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has gone")
    os.setsid()
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.clear()
    os.environ.update(environment)


if __name__ == "__main__":
    program, given = _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = [program, *given]
    runpy.run_module(program, run_name="__main__", alter_sys=True)
