"""Erasures: a customer, or some jobs, are forgotten everywhere, and a proof is left that names nobody.

Owns what is to be erased, how far that has come, and the proof.
Promises: what was accepted before the request is canceled, waited for, and erased; the books stay, to the
credit, without the name; each step is committed with its count, whatever dies; and nothing says `completed`
before the last row and the last byte are gone. What is accepted after the request is left alone.
Never aborts a paid call, and never erases what it was not asked for: other jobs may have the same image.
"""

from models.jobs.erasures.asking import Wish, digests, find, listing, request
from models.jobs.erasures.choosing import waiting
from models.jobs.erasures.doing import DUE, advance, due, forget_job

__all__ = [
    "DUE",
    "Wish",
    "advance",
    "digests",
    "due",
    "find",
    "forget_job",
    "listing",
    "request",
    "waiting",
]
