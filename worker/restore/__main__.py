"""`python -m worker.restore`: book what was paid since the backup, while everything is paused."""

import os
import signal
import sys

# Process 1 has no default action: told to stop while it loads what follows, it would go on. Not by an
# exception: Python drops those in a finalizer, and a class that is being made changes them.
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))

import asyncio
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import AsyncExitStack
from datetime import datetime

from models import settings
from models.errors import DarkroomError, Misconfigured
from models.jobs.view import Presenter
from models.platform.db import Database, migrate, premises
from models.platform.doorbell import Doorbell
from models.platform.vault import Vault
from models.settings import Settings
from worker.dispatcher.account.accounting import AccountReader
from worker.dispatcher.duty import Dispatcher
from worker.provider import Provider
from worker.restore import recalling
from worker.restore.recalling import Calls, Recalled
from worker.runtime.app import connect


def main() -> int:
    """Book, and say what; 2 and one line when it cannot be done, or not yet."""
    parser = ArgumentParser(prog="python -m worker.restore", description=__doc__)
    parser.add_argument(
        "--since", type=_moment, help="when the backup was made; by default the last that it saw"
    )
    asked = parser.parse_args()
    try:
        found = asyncio.run(_run(settings.load(), asked.since))
    except DarkroomError as refused:
        print(f"darkroom restore: {premises.explain(refused)}", file=sys.stderr)
        return 2
    print(f"read the provider's log since {found.since:%Y-%m-%d %H:%M:%S %Z}")
    print(f"booked {_told(found.booked)} that the backup did not know")
    if found.homeless:
        print(f"not booked: {_told(found.homeless)} that the backup does not have")
    if found.odd:
        print(
            f"{found.odd} rows of the log could not be read (the log lines above name the first): "
            "look at them before you resume, a call among them might be paid again"
        )
    print("then: start every role, and `python -m models resume`")
    return 0


async def _run(loaded: Settings, since: datetime | None) -> Recalled:
    key = loaded.aimlapi_key
    if key is None or not key.get_secret_value():
        raise Misconfigured("AIMLAPI_KEY is not set; the provider's log cannot be read without it.")
    async with AsyncExitStack() as stack:
        doorbell = await stack.enter_async_context(Doorbell(loaded.redis_url.get_secret_value()))
        database = Database(loaded, ring=doorbell.ring, pool=1, name="darkroom-restore")
        stack.push_async_callback(database.close)
        async with database.transaction() as tx:
            await migrate.demand_schema(tx)
        provider = await stack.enter_async_context(
            Provider(loaded.aimlapi_base_url, key, loaded.connect_timeout)
        )
        presenter = Presenter.of(loaded, Vault.of(loaded))
        dispatcher = Dispatcher(loaded, "restore", database, doorbell, connect(loaded), presenter)
        return await recalling.recall(AccountReader(dispatcher, provider), since)


def _told(calls: Calls) -> str:
    made = [call for each in calls.values() for call in each]
    credits_ = sum(call.credits or 0 for call in made)
    return f"{len(made)} calls of {len(calls)} jobs, {credits_} credits,"


def _moment(written: str) -> datetime:
    try:
        return datetime.fromisoformat(written).astimezone()
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{written!r} is no time, such as 2026-11-22T10:00:00Z") from None


if __name__ == "__main__":
    sys.exit(main())
