"""Traces: spans made by hand at what takes time, and what carries a trace from one process to the next.

Promises: without a receiver of spans a step costs about a microsecond; no span holds a prompt, a URL or a
secret; a trace is sent to nobody but its own job's webhook. Never decides anything.
"""

from models.platform.tracing.collecting import start, stop
from models.platform.tracing.spans import (
    Name,
    Step,
    afresh,
    apart,
    begin,
    carried,
    carry_on,
    enter,
    note,
    traced,
    within,
)

__all__ = [
    "Name", "Step", "afresh", "apart", "begin", "carried", "carry_on", "enter", "note", "start", "stop",
    "traced", "within",
]  # fmt: skip
