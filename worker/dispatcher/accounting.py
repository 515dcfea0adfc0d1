"""What the duties that ask the provider's account share: the provider, and a share of its patience."""

from dataclasses import dataclass
from datetime import timedelta

from models import duties
from worker.dispatcher.desk import Desk
from worker.provider import Provider

_LEASE = timedelta(seconds=60)
# The provider refuses more than 200 requests in 60 s; a tenth is left to people who look by hand.
_REQUESTS = 180


@dataclass(frozen=True, slots=True)
class Books:
    """A dispatcher's desk, with the provider's account on it."""

    desk: Desk
    provider: Provider


async def reserve_request(books: Books, duty: str) -> bool:
    """Take a duty's lease and count one request; False when another has it, or the minute is spent."""
    async with books.desk.database.transaction() as tx:
        held = await duties.lease(tx, duty, books.desk.name, _LEASE)
        return held and await duties.spend_request(tx, _REQUESTS)
