"""Jobs that are accepted: what one project submits meanwhile is one statement, and one commit.

A project waits for its own statements alone. Where it has budgets, so do those of one key and customer, for
they draw on the same windows; one by one they would wait for each other's commits (decision 58).
"""

from collections.abc import Sequence
from uuid import UUID

from api.sharing.turns import Turns
from models import jobs
from models.accounts.callers import Caller
from models.jobs import Candidate, Idempotency, Snapshot, Submission
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.together import Lines

_TOGETHER = 64  # jobs of one statement
_Name = tuple[UUID, tuple[UUID, str | None] | None]  # a project; with budgets, a key and a customer


class Admissions:
    """The submissions of one process."""

    def __init__(self, database: Database, turns: Turns, presenter: Presenter) -> None:
        self._direct = database.direct
        self._turns = turns
        self._presenter = presenter
        self._plain = Lines(self._admit, most=_TOGETHER)

    async def admit(
        self, caller: Caller, submission: Submission, idempotency: Idempotency | None
    ) -> Snapshot | None:
        """Accept a job and hold its price; None when nothing was done, for it needs a closer look.

        Raises `ProjectSuspended` and `Unavailable`.
        """
        if jobs.is_plain(submission):
            within = (caller.key_id, submission.customer) if caller.budgeted else None
            candidate = Candidate.of(caller, submission, idempotency)
            return await self._plain.find((caller.project_id, within), candidate)
        async with self._turns.take(caller.project_id):
            return await jobs.admit_reusing(
                self._direct, self._presenter, caller, submission, idempotency
            )

    async def _admit(
        self, name: _Name, candidates: Sequence[Candidate]
    ) -> dict[Candidate, Snapshot]:
        project_id, within = name
        async with self._turns.take(project_id):
            return await jobs.admit_several(self._direct, candidates, budgeted=within is not None)
