"""Charges: what an attempt of unknown charge cost, and what a paid call was answered without an image."""

from argparse import Namespace

from models import jobs
from models.commands.command import Commands, Said, add, opened
from models.errors import InvalidRequest
from models.jobs.attempts import evidence
from models.jobs.view import Presenter
from models.platform import jsonable
from models.platform.db import Database
from models.platform.vault import Vault
from models.settings import Settings


def add_to(commands: Commands) -> None:
    """Add these commands."""
    hand = add(commands, "resolve", _resolve, "say what an attempt of unknown charge cost")
    hand.add_argument("attempt", help="its client_request_id, as the job's JSON shows it: job_…:1")
    hand.add_argument("verdict", choices=("charged", "free"))
    hand.add_argument("--credits", type=int, help="what was charged; without it, what is held")
    answer = add(commands, "evidence", _evidence, "show a paid answer that had no image in it")
    answer.add_argument("attempt", help="its client_request_id: job_…:1")


async def _resolve(database: Database, asked: Namespace, loaded: Settings) -> Said:
    """Resolve a charge by hand; returns what was done, once it is committed."""
    charged = asked.verdict == "charged"
    if asked.credits is not None and (asked.credits < 0 or not charged):
        raise InvalidRequest("--credits goes with `charged`, and is not negative.")
    presenter = Presenter.of(loaded, Vault.of(loaded))
    async with opened(database) as tx:
        attempt, job = await jobs.resolve_by_hand(
            tx, presenter, asked.attempt, charged=charged, credits_=asked.credits
        )
    cost = "not charged" if attempt.credits is None else f"{attempt.credits} credits charged"
    return Said(
        f"{asked.attempt} is {attempt.charge}: {cost}; its job is {job.status}, with {job.charged} "
        f"credits charged and {job.held} held"
    )


async def _evidence(database: Database, asked: Namespace, _: Settings) -> Said:
    """Show what an attempt was answered with, and aside what of it is kept."""
    async with opened(database) as tx:
        found, at = await evidence.read(tx, asked.attempt)
    kind = found.content_type or "no content type"
    told = f"{len(found.body)} of {found.length} bytes, {kind}, kept at {jsonable.time(at)}"
    return Said(found.body.decode(errors="backslashreplace"), aside=told)
