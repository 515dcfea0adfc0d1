"""Attempts: one paid call each, and what is known of its charge.

`booking` writes the ledger of an attempt, `evidence` keeps the beginning of an answer that had no image.
Promises: an attempt is written before its socket opens, with the charge unknown: that is the truth if its
worker dies in the next instruction. Never moves its job.
"""

from models.jobs.attempts.attempt import (
    ERASED,
    LOST,
    Answer,
    Ref,
    bare,
    beginning,
    believed,
    client_request_id,
    closing,
    finish,
    note_late,
    of,
    unkept,
)

__all__ = [
    "ERASED",
    "LOST",
    "Answer",
    "Ref",
    "bare",
    "beginning",
    "believed",
    "booking",
    "client_request_id",
    "closing",
    "evidence",
    "finish",
    "note_late",
    "of",
    "unkept",
]
