"""What the routes of one process stand on."""

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import structlog
from fastapi import Request

from api.edge.callers import Callers
from api.sharing.admissions import Admissions
from api.sharing.calls import Calls
from api.sharing.conversions import Conversions
from api.sharing.intakes import Intakes
from api.sharing.queues import Queues
from api.sharing.readings import Readings
from api.sharing.references import References
from api.sharing.reports import Reports
from api.sharing.turns import Turns
from api.sharing.waiting import Waiting
from api.sharing.watching import Watching
from models import ids
from models.images.storage import Store
from models.jobs import batches
from models.jobs.view import Presenter
from models.money.prices import PriceList
from models.platform import tracing
from models.platform.db import Database
from models.platform.doorbell import Doorbell
from models.platform.vault import Vault
from models.schema import Batch, Job
from models.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(slots=True)
class State:
    """The resources of an api process, opened by `api.opening`."""

    settings: Settings
    database: Database
    doorbell: Doorbell
    store: Store
    vault: Vault
    presenter: Presenter
    callers: Callers
    queues: Queues
    admissions: Admissions
    readings: Readings
    waiting: Waiting
    watching: Watching
    prices: PriceList
    references: References
    reports: Reports
    turns: Turns
    calls: Calls
    conversions: Conversions
    intakes: Intakes
    # Since this process has started; and why it must not go on, in one line.
    schema_seen: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: str | None = None
    # What anybody may ask for is found out once for all that ask meanwhile.
    looking: asyncio.Task[tuple[str | None, str | None]] | None = None
    measured: bytes = b""
    measured_until: float = 0.0

    def located(self, path: str) -> str:
        """Return what `Location` says of a path: below the one that a proxy has stripped, if it has."""
        return f"{urlsplit(self.settings.public_url).path.rstrip('/')}{path}"

    def log_accepted(self, job: Job, *, replayed: bool) -> None:
        """Leave a line in the log: the first of a job's life."""
        job_id = ids.text(ids.JOB, job.id)
        tracing.note(job_id=job_id, replayed=replayed)
        log.info("job.accepted", job_id=job_id, replayed=replayed)

    def log_batch(self, batch: Batch, *, replayed: bool) -> None:
        """Leave the same of a batch, or a group."""
        named = batches.written(batch)
        tracing.note(batch_id=named, replayed=replayed)
        log.info("batch.accepted", batch_id=named, rows=batch.total, replayed=replayed)


def state_of(request: Request) -> State:
    """Return the state of the process that serves this request."""
    state: State = request.app.state.darkroom
    return state
