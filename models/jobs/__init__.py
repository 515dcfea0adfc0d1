"""A job's life: one function per arrow.

              submit            dispatch             start
       (new) ───────► queued ───────────► released ───────► running ──► succeeded
                       ▲  │ ▲                 │                │  │
                       │  │ └──── reaped ─────┘                │  ├────► failed
                       │  │  (message lost: nothing sent)      │  └────► canceled (too late: image kept)
                       │  ├──► canceled (prevented)            │
                       │  ├──► expired  (queue ttl, deadline)  │       these three also from released
                       │  └──► succeeded (with a late image)   │
                       └────── retry at run_after ◄────────────┘

queued     It waits in Postgres, where order, limits and deadlines are one query. `run_after` says from
           when it may run; NULL means that it waits for something other than time: room in a budget, a
           charge to be known, or the leader it follows, whose end becomes its own.
released   It is dispatched: handed to Celery under a lease of 30 s to start. Shown as `queued`.
           When its call costs more by now than it holds, its start holds anew, or queues it until a
           budget has room, or fails it by its `max_cost` (`affording`).
running    A worker has it. Phase `call`: the paid call is under way, its attempt row is committed.
           Phase `keep`: the image is paid, and only its bytes are still to be kept, so a worker that
           takes the job over never calls again.
succeeded, failed, canceled, expired
           Terminal: `finished_at` is set, nothing changes any more but the charge of an attempt.

A late image is the image of a call that was given up, and came while a later one was under way. When that
one brings none, the job succeeds with the late image and pays no other call (`ending.conclude`): at once,
or, if its bytes are not kept yet, out of phase `keep`, in which the next worker keeps them.

Every arrow is one guarded UPDATE (`WHERE status … AND fence …`) and returns None when somebody else won.
`fence` grows with each dispatch, so a late worker cannot move the job; it may still finish the row of its
own attempt, which holds the price and perhaps the image. A transaction that locks several rows locks the
job first. Every arrow into a terminal state writes the ledger, the event and its deliveries itself.
"""

from models.images.records import KeptImage
from models.jobs.charges.charging import (
    LeftOver,
    Verdict,
    believed_free,
    identify,
    inferences,
    left_over,
    named,
    note_absent,
    open_charge,
    resolve,
    resolve_by_hand,
    under_way,
    unknown_charges,
)
from models.jobs.charges.correcting import Correction, correct, write_off
from models.jobs.endings.ending import cancel
from models.jobs.endings.expiring import expire, late
from models.jobs.endings.following import follow_up, settle, waiting
from models.jobs.queue.dispatching import (
    Bounds,
    Dispatch,
    claim_dispatch,
    dispatch,
    hand_back,
    next_to_dispatch,
    try_dispatching,
)
from models.jobs.queue.explaining import explain
from models.jobs.queue.outlook import Outlook, look
from models.jobs.reading import (
    Snapshot,
    demanded,
    finished,
    listing,
    read,
    read_several,
    read_versions,
)
from models.jobs.reading.filtering import Filter
from models.jobs.reading.searching import page
from models.jobs.retention.erasing import erase
from models.jobs.running.answering import lose, park, refuse, retry_later, set_aside
from models.jobs.running.keeping import keep_late, pass_by, receive, succeed
from models.jobs.running.leasing import renew
from models.jobs.running.postponing import keep_at_once, keep_later
from models.jobs.running.readmitting import Waiting, readmit, waiting_for_budget
from models.jobs.running.reaping import Reaped, overdue, reap
from models.jobs.running.receiving import Received, receive_several
from models.jobs.running.starting import Dispatched, Start, Terms, start, start_plain, started
from models.jobs.running.succeeding import Kept, succeed_several
from models.jobs.submission.admitting import admit_reusing, admit_several, is_plain
from models.jobs.submission.candidates import Candidate, Idempotency, Submission
from models.jobs.submission.naming import earlier, fingerprint
from models.jobs.submission.retrying import again, retry, retry_name
from models.jobs.submission.submitting import queue_full, queued, submit

__all__ = [
    "Bounds",
    "Candidate",
    "Correction",
    "Dispatch",
    "Dispatched",
    "Filter",
    "Idempotency",
    "Kept",
    "KeptImage",
    "LeftOver",
    "Outlook",
    "Reaped",
    "Received",
    "Snapshot",
    "Start",
    "Submission",
    "Terms",
    "Verdict",
    "Waiting",
    "actions",
    "admit_reusing",
    "admit_several",
    "again",
    "agenda",
    "attempts",
    "batches",
    "believed_free",
    "cancel",
    "charges",
    "claim_dispatch",
    "correct",
    "demanded",
    "dispatch",
    "earlier",
    "erase",
    "erasures",
    "expire",
    "explain",
    "fingerprint",
    "finished",
    "follow_up",
    "hand_back",
    "identify",
    "inferences",
    "is_plain",
    "keep_at_once",
    "keep_late",
    "keep_later",
    "late",
    "left_over",
    "listing",
    "look",
    "lose",
    "named",
    "next_to_dispatch",
    "note_absent",
    "open_charge",
    "overdue",
    "page",
    "park",
    "pass_by",
    "queue",
    "queue_full",
    "queued",
    "read",
    "read_several",
    "read_versions",
    "reading",
    "readmit",
    "reap",
    "receive",
    "receive_several",
    "refuse",
    "renew",
    "resolve",
    "resolve_by_hand",
    "retention",
    "retry",
    "retry_later",
    "retry_name",
    "set_aside",
    "settle",
    "start",
    "start_plain",
    "started",
    "submission",
    "submit",
    "succeed",
    "succeed_several",
    "try_dispatching",
    "under_way",
    "unknown_charges",
    "view",
    "waiting",
    "waiting_for_budget",
    "write_off",
]
