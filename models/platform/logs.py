"""Structured logs: one JSON object a line, with job, attempt and request ids; never a secret.

Everything that a process logs is such a line: its libraries' logs, Python's warnings, and the exception
that ends a thread or the process. A number that JSON has no word for (infinity) is written as text.
"""

import json
import logging
import math
import re
import sys
import threading
from collections.abc import MutableMapping
from contextlib import suppress
from functools import partial
from logging import getLevelNamesMapping
from types import TracebackType
from typing import Any, TextIO

import structlog

# What a key or a secret of ours looks like; the provider's key never reaches a log call at all. What a key
# begins with is no secret where nothing of the secret follows: it is the hint that people know it by.
_SECRETS = re.compile(
    r"dr_live_(?![0-9a-z]{12}_(?![0-9a-z_]))[0-9a-z_]+|wh(?:sec|sk)_[A-Za-z0-9+/=]+|Bearer \S+"
)

# One line per request or per task of theirs says nothing that ours do not.
_CHATTY = (
    "psycopg.pool", "aiohttp.access", "alembic.runtime.migration",
    "celery.app.trace", "celery.worker.strategy",
)  # fmt: skip


def configure(role: str, level: str, *, stream: TextIO | None = None) -> None:
    """Send everything that this process logs, libraries included, to stdout as JSON lines."""
    shared: list[structlog.typing.Processor] = [
        partial(_name_role, role),
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _hide_secrets,
    ]
    out, write = stream or sys.stdout, structlog.processors.JSONRenderer(serializer=_json)
    structlog.configure(
        # Straight to the stream: by way of `logging` a line takes twice the CPU.
        processors=[*shared, write],
        logger_factory=lambda *_name: _Lines(out),
        # Below the level its methods do nothing at all.
        wrapper_class=structlog.make_filtering_bound_logger(getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, write],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_the_end
    threading.excepthook = _log_the_threads_end


class _Lines(structlog.WriteLogger):
    """Writes lines; what a full disk or a closed pipe does not take is lost, and stops nothing."""

    def msg(self, message: str) -> None:
        """Write a line, or lose it."""
        with suppress(OSError, ValueError):  # ValueError: the stream is closed
            super().msg(message)

    log = debug = info = warning = error = critical = msg


def _name_role(
    role: str, _logger: object, _method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    # Not a context variable: tasks and threads start with contexts of their own.
    event["role"] = role
    return event


def _log_the_end(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Log the exception that ends the process; Ctrl-C is no failure."""
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("darkroom").critical("process.failed", exc_info=(kind, error, trace))


def _log_the_threads_end(ended: threading.ExceptHookArgs) -> None:
    """Log the exception that ends a thread."""
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        error = (ended.exc_type, ended.exc_value, ended.exc_traceback)
        logging.getLogger("darkroom").critical("thread.failed", exc_info=error)


def _json(event: object, **options: Any) -> str:  # noqa: ANN401 -- json's own keywords
    try:
        return json.dumps(event, allow_nan=False, **options)
    except ValueError:  # RFC 8259 has no infinity
        return json.dumps(_finite(event), **options)


def _finite(value: object) -> object:
    """Return the value with each number that is not finite as text."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {str(name): _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
        case _:
            return value


def _hide_secrets(
    _logger: object, _method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = without_secrets(value)
    return event


def without_secrets(text: str) -> str:
    """Return a text with what looks like a key or a secret of ours left out."""
    return _SECRETS.sub("[secret]", text)
