"""Celery, and its settings: a pool of consumers on many machines, and nothing more.

Order, retries, delays and results are Postgres' business. Celery carries what may run now.
"""

import sys
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import celery.apps.worker
from celery import Celery
from celery.apps.worker import install_worker_term_handler
from kombu.entity import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES
from pydantic import TypeAdapter

from models.settings import Settings, hide
from models.settings.redis_url import RedisUrl

_PAIRS = TypeAdapter(list[tuple[UUID, int]])
_SENTINEL = 3.0  # seconds for a sentinel to answer

GENERATE, DELIVER = "generate", "deliver"
THREADS = 4  # each waits for one statement at a time: what begins the things of a message
_AHEAD = 16  # messages for each thread: nobody wakes the poller to tell of an acknowledgement

# What Celery would read before what it is told: another program's, beside which a role runs.
_ELSEWHERE = "CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"

# By the alias and not by `broker_transport`, so that `rediss://` still means TLS.
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "worker.runtime.broker:Transport"))
TRANSPORT_ALIASES["sentinel"] = "worker.runtime.broker:SentinelTransport"


class Worker(celery.apps.worker.Worker):  # type: ignore[misc]  # not typed
    """Celery's worker, which drains at SIGTERM and SIGINT alike, and prints nothing beside the log."""

    failure: BaseException | None = None  # what ended it, if nobody told it to stop

    def stop(self, in_sighandler: bool = False, exitcode: int | None = None) -> None:  # noqa: FBT001, FBT002  # Celery's signature
        """Remember what it is stopped for: Celery logs that, and forgets it."""
        Worker.failure = Worker.failure or sys.exc_info()[1]
        super().stop(in_sighandler=in_sighandler, exitcode=exitcode)

    def install_platform_tweaks(self, worker: Any) -> None:  # noqa: ANN401 -- not typed
        """Install the handlers of signals once more, told to be silent."""
        super().install_platform_tweaks(worker)
        for number in ("SIGTERM", "SIGINT"):
            install_worker_term_handler(worker, sig=number, verbose=False)


app = Celery("darkroom")
app.Worker = app.subclass_with_self(Worker)
app.conf.update(
    task_queues=[
        # An exchange each: with the default one, both queues would get every message.
        Queue(name, Exchange(name), routing_key=name)
        for name in (GENERATE, DELIVER)
    ],
    task_routes={
        "generate": {"queue": GENERATE},
        "thumbnail": {"queue": GENERATE},
        "fetch": {"queue": GENERATE},
        "deliver": {"queue": DELIVER},
    },
    imports=["worker.tasks"],
    task_serializer="json",
    accept_content=["json"],
    # Late: when what it carries has begun, and that is committed. Its loss would cost a lease, its return
    # costs a refused start: the guards in Postgres decide, not the broker.
    task_acks_late=True,
    task_reject_on_worker_lost=False,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_prefetch_multiplier=_AHEAD,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_send_task_events=False,
    # A worker goes on with its paid calls while Redis is away.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        # redis-py 8 has 5 s of its own, kombu without any can block a publish for ever.
        "socket_timeout": 10.0,
        "socket_connect_timeout": 3.0,
        "socket_keepalive": True,
        "health_check_interval": 10,
        # What comes back so late is refused; until then it is Postgres that may be away.
        "visibility_timeout": 3600,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)


def connect(settings: Settings) -> Celery:
    """Point Celery at the broker."""
    hide(*_ELSEWHERE)
    place = RedisUrl.parse(settings.redis_url.get_secret_value())
    options = dict(app.conf.broker_transport_options)
    if place.service is not None:
        tls = {} if place.ssl is None else {"ssl": True, **place.ssl}
        options |= {
            "master_name": place.service,
            "sentinel_kwargs": {**place.sentinel_options, **tls, "socket_timeout": _SENTINEL},
        }
    app.conf.update(
        broker_url=place.celery_url(),
        # Without it kombu takes any certificate; redis-py's own default is to check it.
        broker_use_ssl=None if place.ssl is None else {"ssl_cert_reqs": "required", **place.ssl},
        broker_transport_options=options,
    )
    return app


def consumer(settings: Settings, name: str) -> Worker:
    """Return Celery's worker, to be started; not by its command line, which loads a terminal's tools."""
    worker: Worker = connect(settings).Worker(
        hostname=name,
        pool_cls="threads",
        concurrency=THREADS,
        queues=[GENERATE, DELIVER],
        loglevel=settings.log_level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    )
    return worker


def bundle(arguments: Sequence[object]) -> list[tuple[UUID, int]]:
    """Read what a message carries: ids, each with its number.

    A list of pairs, or one pair that is alone, which is all that older dispatchers send.
    """
    pairs = _PAIRS.validate_python(arguments[0] if len(arguments) == 1 else [arguments])
    return list(dict.fromkeys(pairs))  # twice in one statement neither would be the other's
