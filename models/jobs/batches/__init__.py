"""Batches: many jobs that were asked for together, with one decision about money and one number to watch.

Owns the row of a batch, how its rows come into the queue and out of it, and how their ends are counted.
Promises: what its rows hold, were charged and may have been charged is never more than its `max_cost`; who
waits for another job notices nothing of a batch, however long it is; no arrow of a job writes into its
batch. Never makes a row run: in the queue it is a job like any other.

A batch is `running`, `paused` (by its project, by its money or after so many failures), `canceling`, and
at last `completed` or `canceled`. A group is a small batch of one submission, whose rows are in the queue
from the start, and which is told of once, at its end.
"""

from models.jobs.batches.accepting import (
    Held,
    Name,
    Order,
    accept,
    demand_room,
    earlier,
    foresee,
    written,
)
from models.jobs.batches.advancing import advance
from models.jobs.batches.grouping import group, of_job, spread
from models.jobs.batches.reading import Standing, find, item, items, listing, read
from models.jobs.batches.repeating import repeat
from models.jobs.batches.steering import alter, cancel, pause, resume
from models.jobs.batches.turns import DUE, HALF, due
from models.jobs.batches.view import show

__all__ = [
    "DUE",
    "HALF",
    "Held",
    "Name",
    "Order",
    "Standing",
    "accept",
    "advance",
    "alter",
    "cancel",
    "demand_room",
    "due",
    "earlier",
    "find",
    "foresee",
    "group",
    "item",
    "items",
    "listing",
    "of_job",
    "pause",
    "read",
    "repeat",
    "resume",
    "show",
    "spread",
    "written",
]
