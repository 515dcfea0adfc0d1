"""Jobs that are accepted: what one project submits meanwhile is one statement, and one commit.

A project waits for its own statements alone. Where it has budgets, so do those of one key and customer, for
they draw on the same windows; one by one they would wait for each other's commits (decision 58).
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID
from weakref import WeakValueDictionary

from api.sharing.turns import Turns
from models import jobs
from models.accounts.callers import Caller
from models.jobs import Candidate, Idempotency, Snapshot, Submission
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.together import Together

_TOGETHER = 64  # jobs of one statement
_Line = Together[Candidate, Snapshot]
_Name = tuple[UUID, tuple[UUID, str | None] | None]


class Admissions:
    """The submissions of one process; a line of plain ones is there as long as somebody stands in it."""

    def __init__(self, database: Database, turns: Turns, presenter: Presenter) -> None:
        self._direct = database.direct
        self._turns = turns
        self._presenter = presenter
        self._lines: WeakValueDictionary[_Name, _Line] = WeakValueDictionary()

    async def admit(
        self, caller: Caller, submission: Submission, idempotency: Idempotency | None
    ) -> Snapshot | None:
        """Accept a job and hold its price; None when nothing was done, for it needs a closer look.

        Raises `ProjectSuspended` and `Unavailable`.
        """
        if jobs.is_plain(submission):
            candidate = Candidate.of(caller, submission, idempotency)
            return await self._line(caller, submission.customer).find(candidate)
        async with self._turns.take(caller.project_id):
            return await jobs.admit_reusing(
                self._direct, self._presenter, caller, submission, idempotency
            )

    def _line(self, caller: Caller, customer: str | None) -> _Line:
        within = (caller.key_id, customer) if caller.budgeted else None
        line = self._lines.get((caller.project_id, within))
        if line is None:
            admit = partial(self._admit, caller.project_id, budgeted=caller.budgeted)
            line = self._lines[caller.project_id, within] = Together(admit, most=_TOGETHER)
        return line

    async def _admit(
        self, project_id: UUID, candidates: Sequence[Candidate], *, budgeted: bool
    ) -> dict[Candidate, Snapshot]:
        async with self._turns.take(project_id):
            return await jobs.admit_several(self._direct, candidates, budgeted=budgeted)
