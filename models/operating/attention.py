"""What needs a person: read off the state, each with what to do and the runbook that says more.

Only what does not mend itself: a queue that waits for the provider's limit is none of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from models.operating.wording import counted
from models.platform.jsonable import Json

State = dict[str, Any]  # as JSON

_SOON = timedelta(hours=6)
_LATE = timedelta(hours=1)
_GATES = {
    "provider_key": "Put a key that works into AIMLAPI_KEY, and restart workers and dispatchers.",
    "wallet_empty": "Pay in at the provider.",
    "provider_down": "Look at the provider; a probe opens the gate.",
    "storage": "Make room in the store, or mend its credentials.",
}


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a person is to do; `runbook` is its anchor in docs/operating.md."""

    code: str
    message: str
    runbook: str

    def show(self) -> Json:
        """Return it as it is shown."""
        return {
            "code": self.code,
            "message": self.message,
            "runbook": f"operating.md#{self.runbook}",
        }


def needs(state: State) -> list[Json]:
    """Return what a person is to do, by a state as `state.read` returns it; the most urgent first."""
    return [each.show() for each in _needs(state)]


def _needs(state: State) -> Iterator[Need]:
    yield from _of_money(state)
    yield from _of_calls(state)
    yield from _of_upkeep(state)


def _of_money(state: State) -> Iterator[Need]:
    books, charges, wallet = state["books"], state["charges"], state["wallet"]
    if books["differences"]:
        jobs = counted(books["differences"], "job", "jobs")
        told = f"The books of {jobs} differ: pause, and report it."
        yield Need("books_differ", told, "DarkroomBooksDiffer")
    if books["charges_of_nobody"]:
        one, many = "charge of the last day is", "charges of the last day are"
        told = f"{counted(books['charges_of_nobody'], one, many)} not ours: who has the key?"
        yield Need("charges_of_nobody", told, "DarkroomChargesOfNobody")
    if wallet is not None and _ends_soon(wallet):
        told = f"At the last hour's rate the wallet is empty at {wallet['ends_at']}: pay in."
        yield Need("wallet_runs_out", told, "DarkroomWalletRunsOut")
    if charges["overdue"]:
        late = counted(charges["overdue"], "charge is", "charges are")
        told = f"{late} unknown for longer than the provider's log takes."
        yield Need("charges_unknown", told, "DarkroomChargeUnknownForLong")


def _of_calls(state: State) -> Iterator[Need]:
    for gate in state["gates"]:
        if gate["project_id"] is None:
            told = f"{gate['detail']} {_GATES.get(gate['reason'], '')}".strip()
            yield Need(f"gate_{gate['reason']}", told, "DarkroomGateClosed")
    if not state["workers"]["count"] and state["queue"]["queued"]:
        yield Need("no_worker", "Jobs wait, and no worker reports.", "DarkroomNoWorker")
    for pause in state["pauses"]:
        yield from _of_pause(pause)


def _of_pause(pause: State) -> Iterator[Need]:
    """What is being deleted needs nobody: the dispatchers do it."""
    project = f"the project {pause['project']} ({pause['project_id']})"
    if pause["because"] == "suspended":
        why = f": {pause['suspended_reason']}" if pause["suspended_reason"] else ""
        told = f"An operator has suspended {project} at {pause['paused_at']}{why}"
        told = f"{told.rstrip('.')}. Reinstate it, or delete it."
        yield Need("project_suspended", told, "one-project-floods")
    elif pause["because"] == "paused":
        what = project if pause["project_id"] else pause["model"] or "everything"
        told = f"An operator has paused {what} at {pause['paused_at']}."
        yield Need("paused", told, "pausing")


def _of_upkeep(state: State) -> Iterator[Need]:
    if missing := [each["id"] for each in state["processes"] if each["missing"]]:
        told = f"Not heard of lately: {', '.join(missing)}."
        yield Need("process_missing", told, "DarkroomRoleMissing")
    if set_aside := sum(state["set_aside"].values()):
        rows = counted(set_aside, "row", "rows")
        told = f"Duties pass by {rows} that they cannot move: GET /v1/operator/set-aside."
        yield Need("rows_set_aside", told, "DarkroomRowsSetAside")
    if state["erasure_overdue_seconds"] > _LATE.total_seconds():
        yield Need("erasure_late", "What was erased is still in the store.", "DarkroomErasureLate")
    if failing := state["webhooks"]["endpoints"]["disabled"]:
        one = "endpoint was disabled because it failed: tell its project."
        many = "endpoints were disabled because they failed: tell their projects."
        told = counted(failing, one, many)
        yield Need("endpoints_disabled", told, "DarkroomEndpointsFail")


def _ends_soon(wallet: State) -> bool:
    left, hour = wallet["credits"], wallet["last_hour_credits"]
    return bool(hour) and left / hour * 3600 < _SOON.total_seconds()
