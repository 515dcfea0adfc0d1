"""Deliveries: one event on its way to one URL.

The dispatcher wakes what is due (`wake`), a worker takes it (`take`), sends it, and records the try
(`record`). What is new the worker wakes itself if nothing stands in the way (`wake_here`), and so the next
in a destination where a try has delivered (`hand_on`). `take` and `record` are guarded by the number of the
try: two workers with one message send it once, and a late one moves nothing. `take_plain` and
`record_plain` do the same for a bundle in one round trip, and leave out what is not what nearly every
delivery is.

    pending ──wake──► sending ──record──► delivered | exhausted | blocked | aborted
       ▲ ▲               │                    │
       │ └── next try ───┤                    │
       │                 ▼                    │
       │     disable    held                  │
       └──── replay, redeliver ◄──────────────┘

pending    It is due at `next_at`; its destination's pause, rate and cap may hold it longer.
sending    A worker has it, or will have it in a moment, under a lease.
held       Its endpoint is disabled; it is kept until somebody replays it.
delivered, exhausted, blocked, aborted
           Finished, each with its reason in the last try. A replay gives it a fresh schedule; its tries
           count on, so that every try of a delivery has a number of its own.

A transaction that needs several rows locks the endpoint first, then deliveries, then the destination.
"""

from models.webhooks.deliveries.answering import Answers, answers
from models.webhooks.deliveries.disabling import Patience
from models.webhooks.deliveries.handing_on import hand_on
from models.webhooks.deliveries.plain import Tried, Written, record_plain
from models.webhooks.deliveries.reading import Logged, crowded, log, read
from models.webhooks.deliveries.reaping import RUN_OUT, hand_back, reap, run_out
from models.webhooks.deliveries.recording import TryResult, record
from models.webhooks.deliveries.replaying import (
    Pace,
    Replayed,
    missed,
    ping,
    redeliver,
    replay,
    replay_job,
)
from models.webhooks.deliveries.taking import ClaimedDelivery, take, take_plain
from models.webhooks.deliveries.waking import (
    BATCH,
    DUE,
    Woken,
    capacity,
    next_to_wake,
    try_waking,
    wake,
)
from models.webhooks.deliveries.waking_here import Limits, Place, wake_here

__all__ = [
    "BATCH",
    "DUE",
    "RUN_OUT",
    "Answers",
    "ClaimedDelivery",
    "Limits",
    "Logged",
    "Pace",
    "Patience",
    "Place",
    "Replayed",
    "Tried",
    "TryResult",
    "Woken",
    "Written",
    "answers",
    "capacity",
    "crowded",
    "hand_back",
    "hand_on",
    "log",
    "missed",
    "next_to_wake",
    "ping",
    "read",
    "reap",
    "record",
    "record_plain",
    "redeliver",
    "replay",
    "replay_job",
    "run_out",
    "take",
    "take_plain",
    "try_waking",
    "wake",
    "wake_here",
]  # fmt: skip
