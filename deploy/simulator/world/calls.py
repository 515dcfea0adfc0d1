"""Every generation call in the order it came: what was asked, answered and charged."""

import hashlib
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from deploy.simulator import clock
from deploy.simulator.journal import Journal, Json


@dataclass(slots=True)
class Call:
    """One POST of a generation.

    `settled_at` is when it was charged or failed, `answered_at` when the answer was handed to the
    connection (or the connection was cut); `status` is None when no status line was sent. `script`
    names the job whose script gave this call its scenario; `key` is the mark of the key it came with.
    `lies` are what else its play asked for (`lies.py`).
    """

    number: int
    received_at: datetime
    request_id: str
    inference_id: str
    client_request_id: str | None = None
    key: str = ""
    model: str = ""
    scenario: str = ""
    script: str | None = None
    lies: Mapping[str, float] = field(default_factory=dict)
    logged: bool = False
    kept: bool = False
    charged: int = 0
    settled_at: datetime | None = None
    answered_at: datetime | None = None
    status: int | None = None

    def view(self) -> dict[str, object]:
        """Show the call to a witness's reader."""
        return {
            "number": self.number,
            "client_request_id": self.client_request_id,
            "received_at": clock.text(self.received_at),
            "answered_at": clock.text(self.answered_at) if self.answered_at else None,
            "scenario": self.scenario,
            "status": self.status,
            "charged": self.charged,
            "inference_id": self.inference_id,
            "request_id": self.request_id,
            "model": self.model,
            "logged": self.logged,
        }


class Calls:
    """All calls, oldest first, and how many plays each script has given."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._by_inference: dict[str, Call] = {}
        self._plays: Counter[str] = Counter()
        self.all: list[Call] = []

    def receive(self, client_request_id: str | None) -> Call:
        """Record that a call has come; `keep` must follow before anything is waited for."""
        number = len(self.all) + 1
        ids = new_request_id(), secrets.token_urlsafe(16)
        call = Call(number, clock.now(), *ids, client_request_id=client_request_id)
        return self._add(call)

    def keep(self, call: Call) -> None:
        """Write down what is known."""
        call.kept = True
        self._journal.append(
            "call",
            {
                "number": call.number,
                "received_at": call.received_at.isoformat(),
                "request_id": call.request_id,
                "inference_id": call.inference_id,
                "client_request_id": call.client_request_id,
                "key": call.key,
                "model": call.model,
                "scenario": call.scenario,
                "script": call.script,
                "lies": dict(call.lies),
                "logged": call.logged,
            },
        )

    def next_play(self, call: Call, script: str) -> int:
        """Count this call in its job's script: 0 for the first one."""
        call.script = script
        self._plays[script] += 1
        return self._plays[script] - 1

    def settle(self, call: Call, charged: int) -> None:
        """Record that the call was charged, or failed with 0."""
        call.charged, call.settled_at = charged, clock.now()

    def answer(self, call: Call, status: int | None) -> None:
        """Record what was answered."""
        if not call.kept:
            self.keep(call)
        call.status, call.answered_at = status, clock.now()
        if call.settled_at is None:
            call.settled_at = call.answered_at
        at = {"settled_at": call.settled_at, "answered_at": call.answered_at}
        moments = {name: moment.isoformat() for name, moment in at.items()}
        self._journal.append("answer", {"number": call.number, "status": status, **moments})

    def restore(self, line: Json) -> None:
        """Take a call, an answer or a charge back from the journal."""
        if line["kind"] == "call":
            call = Call(
                number=len(self.all) + 1,
                received_at=datetime.fromisoformat(str(line["received_at"])),
                request_id=str(line["request_id"]),
                inference_id=str(line["inference_id"]),
                client_request_id=_text(line["client_request_id"]),
                key=str(line["key"]),
                model=str(line["model"]),
                scenario=str(line["scenario"]),
                script=_text(line["script"]),
                lies=_numbers(line.get("lies")),
                logged=bool(line["logged"]),
            )
            # A call that was in flight when the simulator died has failed.
            call.settled_at = call.received_at
            self._add(call)
            if call.script:
                self._plays[call.script] += 1
        elif line["kind"] == "answer":
            call = self.all[int(str(line["number"])) - 1]
            call.status = None if line["status"] is None else int(str(line["status"]))
            call.settled_at = datetime.fromisoformat(str(line["settled_at"]))
            call.answered_at = datetime.fromisoformat(str(line["answered_at"]))
        elif line["type"] == "MODEL_USAGE" and (
            charged := self._by_inference.get(str(line["reference_id"]))
        ):
            charged.charged = int(str(line["credits"]))

    def _add(self, call: Call) -> Call:
        self.all.append(call)
        self._by_inference[call.inference_id] = call
        return call


def new_request_id() -> str:
    """Return an id of one HTTP request, as the provider's `requestId`."""
    return f"req_{secrets.token_urlsafe(12)}"


def mark(key: str) -> str:
    """Return what is remembered of a key: the log shows a key its own calls, and no file holds it."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _numbers(value: object) -> dict[str, float]:
    return {str(k): float(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
