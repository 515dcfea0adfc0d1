"""What a run came to: the invariants of a Darkroom that has come to rest, and one line to quote."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from tests.e2e import witnesses
from tests.e2e.chaos import moves
from tests.e2e.chaos.faults import World
from tests.e2e.chaos.load import Said
from tests.e2e.chaos.moves import Takeover
from tests.e2e.chaos.plan import LASTING
from tests.e2e.stage import Stage

_SETTLING = timedelta(seconds=2)  # until everybody is back after something was away


@dataclass
class Report:
    """Figures, and every violation in words; without one the run has passed."""

    seed: int
    jobs: int = 0
    done: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    double_paid: int = 0
    missing_webhooks: int = 0
    duplicate_deliveries: int = 0
    unknown_left: int = 0
    takeovers: list[Takeover] = field(default_factory=list)
    server_errors: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing was broken."""
        return not self.violations

    @property
    def takeover(self) -> float:
        """Return the 95th percentile of all undisturbed takeovers, in seconds after the lease."""
        found = sorted(each.seconds for each in self.takeovers)
        return found[min(len(found) - 1, round(len(found) * 0.95))] if found else 0.0

    def __str__(self) -> str:
        faults = ("kills", "flushes", "restarts", "freezes")
        done = ", ".join(f"{self.done[what]} {what}" for what in faults)
        return (
            f"chaos: {self.jobs} jobs, {done}; {self.lost} lost, {self.double_paid} double paid, "
            f"{self.missing_webhooks} missing webhooks, {self.duplicate_deliveries} duplicate deliveries, "
            f"{self.unknown_left} unknown left, takeover p95 lease + {self.takeover:.1f} s "
            f"({len(self.takeovers)} of {self.done['takeovers']} were undisturbed), "
            f"{self.server_errors} answers 5xx other than 503; "
            f"seed {self.seed}: {'PASSED' if self.passed else f'FAILED, {len(self.violations)} violations'}"
        )


def report(world: World, said: Said) -> Report:
    """Compare everything with everything."""
    stage = world.stage
    made = Report(world.plan.seed, len(said.keys), world.counts)
    made.done |= {"hostile images": world.hostile.spoiled, "webhooks failed": world.moody.failed}
    made.violations += [*said.wrong, *world.company.fallen]
    made.server_errors = sum(
        n for status, n in said.answers.items() if status >= 500 and status != 503
    )
    made.ends = Counter(str(end) for (end,) in stage.rows(
        "SELECT CASE status WHEN 'failed' THEN error->>'code' ELSE status END FROM jobs"
    ))  # fmt: skip
    _count(stage, made)
    _check_customers(stage, said, made)
    _check_takeovers(world, made)
    made.violations += moves.wrong(stage)
    made.violations += [
        f"a worker that nobody had hurt was believed dead: {call}"
        for call, pid in moves.given_up(stage) if pid not in world.company.hurt
    ]  # fmt: skip
    made.violations += [f"I5: its image was there: {each}" for each in _given_away(stage)]
    for name, check in _INVARIANTS.items():
        try:
            check(stage)
        except AssertionError as broken:
            made.violations.append(f"{name}: {broken}")
    return made


_INVARIANTS: dict[str, Callable[[Stage], None]] = {
    "I1, I6": witnesses.check_jobs,
    "I2": witnesses.check_calls,
    "I3": witnesses.check_money,
    "I4": witnesses.check_events,
    "I5": witnesses.check_images,
}

_OPEN_JOBS = "SELECT count(*) FROM jobs WHERE finished_at IS NULL"
_UNKNOWN = "SELECT count(*) FROM attempts WHERE charge = 'unknown'"


def _count(stage: Stage, made: Report) -> None:
    ended = {str(id_) for id_ in witnesses.ended(stage)}
    made.lost = len(set(stage.accepted) - ended)
    calls = Counter(call.client_request_id for call in stage.calls())
    again = moves.paid_again(stage)
    made.violations += [f"I2: paid again although its image had come: {each}" for each in again]
    made.double_paid = len(again) + sum(n - 1 for n in calls.values())
    wanted = {
        witnesses.event_id(id_) for (id_,) in stage.rows("SELECT DISTINCT event_id FROM deliveries")
    }
    heard = Counter(each.id for each in stage.receiver.received)
    made.missing_webhooks = len(wanted - heard.keys())
    made.duplicate_deliveries = heard.total() - len(heard) - made.done["webhooks failed"]
    made.unknown_left = stage.number(_UNKNOWN)
    if still := stage.number(_OPEN_JOBS):
        rows = stage.rows(
            "SELECT id, status, phase, waiting_reason, run_after, lease_until FROM jobs "
            "WHERE finished_at IS NULL LIMIT 5"
        )
        made.violations.append(f"I1: {still} jobs have not ended: {rows}")


def _check_customers(stage: Stage, said: Said, made: Report) -> None:
    """A terminal state that a client was told is the one that stands in the books."""
    books = witnesses.ended(stage)
    changed = {
        id_: (told, books.get(id_)) for id_, told in said.ended.items() if books.get(id_) != told
    }
    if changed:
        made.violations.append(f"I7: told, and now: {changed}")
    if len(set(said.keys.values())) != len(said.keys):
        made.violations.append("I6: two keys, one job")


def _check_takeovers(world: World, made: Report) -> None:
    lease = timedelta(seconds=world.plan.lease)
    disturbed = [(began, ended + _SETTLING) for began, ended in moves.closures(world.stage)]
    away = list(world.away)
    for role in ("dispatcher", "worker"):
        away += [(role, *absence) for absence in world.company.absences(role)]
    for who, began, ended in away:
        # A reaper that has not ticked for a quarter of a lease waits a whole one before it believes any.
        waits = who in {"postgres", "dispatcher"} and ended - began > lease / 4
        disturbed.append((began, ended + _SETTLING + (lease if waits else timedelta(0))))
    found = moves.takeovers(world.stage)
    made.done["takeovers"] = len(found)
    made.takeovers = [
        each for each in found
        if not any(began < each.released and each.expired < ended for began, ended in disturbed)
    ]  # fmt: skip
    if made.takeover > world.plan.takeover:
        slow = sorted(made.takeovers, key=lambda each: -each.seconds)[:5]
        made.violations.append(
            f"takeover p95 is lease + {made.takeover:.1f} s: "
            + "; ".join(f"{each.job} {each.was} until {each.expired:%T}, back {each.back:%T}, "
                        f"released {each.released:%T}" for each in slow)
        )  # fmt: skip


# An image that came inline, though a URL was asked for, dies with the worker that had it.
_GONE = {*LASTING, "b64"}


def _given_away(stage: Stage) -> list[str]:
    """Return the jobs whose paid image was given up although the provider would have given it."""
    lost = stage.rows(
        "SELECT client_request_id FROM attempts JOIN jobs ON jobs.id = job_id "
        "WHERE jobs.error->>'code' = 'image_lost' AND outcome = 'image'"
    )
    scenarios = {call.client_request_id: call.scenario for call in stage.calls()}
    return [
        f"{id_} ({scenarios.get(str(id_))})" for (id_,) in lost
        if scenarios.get(str(id_)) not in _GONE
    ]  # fmt: skip
