"""The roles, as an orchestrator keeps them: so many of each, and whoever died is started again.

Everything here runs in one thread, which must outlive the company: a process dies with the thread that
started it.
"""

import json
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from deploy.local import ports
from deploy.local.servers.server import tail
from tests.e2e.stage import Actor, Stage

_AGAIN = 0.3  # seconds between a death and the next start
_GROWN_UP = 10.0  # seconds after which a role that is told to stop must know what that means


@dataclass
class Seat:
    """One place of a role: who is in it now, and what its environment is."""

    role: str
    environment: dict[str, str]
    url: str = ""
    actor: Actor | None = None
    since: float = 0.0  # when it was taken, or left
    frozen: bool = False

    @property
    def alive(self) -> bool:
        """Whether a process is in it."""
        return self.actor is not None and self.actor.process.poll() is None


@dataclass
class Company:
    """All seats, and what became of those who sat there.

    `hurt` are the process ids of those that were killed, frozen or told to stop: nobody else may lose
    a lease. `fallen` are those that ended by themselves while nothing excused it.
    """

    stage: Stage
    random: Random
    seats: list[Seat] = field(default_factory=list)
    leaving: list[tuple[Actor, float]] = field(default_factory=list)
    hurt: set[int] = field(default_factory=set)
    fallen: list[str] = field(default_factory=list)
    came: list[tuple[Actor, datetime]] = field(default_factory=list)  # thawed
    went: list[tuple[Actor, datetime]] = field(default_factory=list)  # killed, frozen, told to stop
    excused: bool = (
        False  # while the store is away, a role that starts gives up: with one line and 2
    )

    def seat(self, role: str, count: int, far_url: str) -> None:
        """Set up places for a role; the last of them reaches Postgres by `far_url`."""
        for n in range(count):
            environment = {"DATABASE_URL": far_url} if far_url and n == count - 1 else {}
            url = ""
            if role == "api":
                port = ports.pick()
                url, environment["DARKROOM_PORT"] = f"http://127.0.0.1:{port}", str(port)
            self.seats.append(Seat(role, environment, url))

    def tend(self) -> None:
        """Start who is missing; note who has ended without having been told."""
        now = time.monotonic()
        for seat in self.seats:
            if seat.actor is not None and not seat.alive:
                self._bury(seat, seat.actor)
            if seat.actor is None and now >= seat.since + _AGAIN:
                seat.actor, seat.since = self.stage.begin(seat.role, seat.environment), now
        for leaver, deadline in list(self.leaving):
            status = leaver.process.poll()
            if status is None and now < deadline:
                continue
            self.leaving.remove((leaver, deadline))
            # One that was still starting has no ears yet, and nothing to lose.
            deaf = status == -signal.SIGTERM and "started" not in leaver.log.read_text()
            if status != 0 and not deaf:
                self.fallen.append(
                    f"{leaver.name} told to stop gave {status}: {tail(leaver.log, 3)}"
                )
                leaver.kill()

    def pick(self, role: str) -> Seat | None:
        """Choose a seat of this role whose process lives and is not frozen."""
        found = self.all(role)
        return self.random.choice(found) if found else None

    def all(self, role: str) -> list[Seat]:
        """Return every seat of a role whose process lives and is not frozen."""
        return [seat for seat in self.seats if seat.role == role and seat.alive and not seat.frozen]

    def kill(self, seat: Seat) -> None:
        """`kill -9`; the orchestrator sees to the rest."""
        assert seat.actor is not None
        self.hurt.add(seat.actor.pid)
        self._goes(seat.actor)
        seat.actor.kill()
        self._empty(seat)

    def freeze(self, seat: Seat) -> Actor:
        """SIGSTOP."""
        assert seat.actor is not None
        self.hurt.add(seat.actor.pid)
        seat.frozen = True
        self._goes(seat.actor)
        seat.actor.freeze()
        return seat.actor

    def thaw(self, seat: Seat) -> None:
        """SIGCONT."""
        assert seat.actor is not None
        seat.frozen = False
        seat.actor.thaw()
        self.came.append((seat.actor, datetime.now(UTC)))

    def grown_up(self, role: str) -> Seat | None:
        """Choose a seat whose process has run for a while: a younger one may not hear a signal yet."""
        long_ago = time.monotonic() - _GROWN_UP
        found = [seat for seat in self.all(role) if seat.since < long_ago]
        return self.random.choice(found) if found else None

    def terminate(self, seat: Seat, patience: float) -> None:
        """SIGTERM; a successor starts at once, and the leaver has `patience` seconds to end with 0."""
        assert seat.actor is not None
        self.leaving.append((seat.actor, time.monotonic() + patience))
        self._goes(seat.actor)
        seat.actor.process.terminate()
        self._empty(seat)
        if seat.role == "api":  # its port is taken until it has left
            seat.since = time.monotonic() + 1

    def absences(self, role: str) -> list[tuple[datetime, datetime]]:
        """Return the times in which nobody of a role was at work: all dead, frozen or still starting."""
        actors = [actor for actor in self.stage.actors if actor.name == role]
        ready = {actor.pid: at for actor in actors if (at := _at_work_since(actor)) is not None}
        changes = [(at, 1) for at in ready.values()]
        changes += [(at, 1) for actor, at in self.came if ready.get(actor.pid, at) < at]
        changes += [(at, -1) for actor, at in self.went if ready.get(actor.pid, at) < at]
        found, present, since = [], 0, None
        for at, change in sorted(changes):
            present += change
            if present == 0:
                since = at
            elif since is not None:
                found.append((since, at))
                since = None
        return found

    def _goes(self, actor: Actor) -> None:
        self.went.append((actor, datetime.now(UTC)))

    def _bury(self, seat: Seat, actor: Actor) -> None:
        if not self.excused:
            self.fallen.append(f"{actor.name} ended with {actor.process.returncode} by itself: "
                               f"{tail(actor.log, 3)}")  # fmt: skip
        self._empty(seat)

    def _empty(self, seat: Seat) -> None:
        seat.actor, seat.since, seat.frozen = None, time.monotonic(), False


def _at_work_since(actor: Actor) -> datetime | None:
    """Read in a log when its process began to work: a dispatcher says so, and Celery for a worker."""
    for line in actor.log.read_text().splitlines():
        with suppress(ValueError):  # what Celery prints past every logger
            said = json.loads(line)
            if said["event"] == "dispatcher.started" or said["event"].endswith(" ready."):
                return datetime.fromisoformat(said["timestamp"])
    return None
