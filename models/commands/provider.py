"""The provider: calls are stopped and let go on, for all, for a model or for a project."""

from argparse import Namespace

from models.commands.command import Commands, Said, add, opened
from models.operating import stops
from models.platform import jsonable
from models.platform.db import Database
from models.provider import pauses
from models.settings import Settings


def add_to(commands: Commands) -> None:
    """Add these commands."""
    for name, does in (("pause", "let no call begin"), ("resume", "let calls begin again")):
        stop = add(commands, name, _pause, f"{does}: any, a model's, or a project's")
        which = stop.add_mutually_exclusive_group()
        which.add_argument("--model", help="the model's id; a paid image is kept all the same")
        which.add_argument("--project", help="the project's name or id; likewise")


async def _pause(database: Database, asked: Namespace, _: Settings) -> Said:
    """Pause or resume what is named; returns all that is paused then."""
    act = stops.pause if asked.command == "pause" else stops.resume
    async with opened(database) as tx:
        if asked.project is not None:
            await act(tx, "project", asked.project)
        elif asked.model is not None:
            await act(tx, "model", asked.model)
        else:
            await act(tx, "all")
        left = await pauses.described(tx)
    lines = [f"paused since {jsonable.time(since)}: {what}" for what, since in left]
    if not lines:
        return Said("nothing is paused")
    lines.append("calls that are under way end, no other begins; webhooks go on")
    return Said("\n".join(lines))
