"""Actions: one thing (cancel, retry, redeliver, erase) done to every job that a filter names.

Owns what is asked for, how far it has come, and why jobs were left out.
Promises: each job is touched at most once by an action, whatever dies: what is done to a job is committed
with the place that the action has come to; jobs that were accepted after the request are left alone; a job
is judged again when its turn comes, under its lock; a job that fails holds up none of the others.
Never decides how a job is canceled, retried or erased: those are the arrows that single jobs have too.
"""

from models.jobs.actions.asking import Preview, Wish, cancel, find, listing, preview, request
from models.jobs.actions.choosing import written
from models.jobs.actions.doing import RUNNING, Look, act, fail, forget, look, pass_on, running

__all__ = [
    "RUNNING",
    "Look",
    "Preview",
    "Wish",
    "act",
    "cancel",
    "fail",
    "find",
    "forget",
    "listing",
    "look",
    "pass_on",
    "preview",
    "request",
    "running",
    "written",
]
