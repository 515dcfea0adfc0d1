"""The provider: calls are stopped and let go on, for all, for a model or for a project."""

from argparse import ArgumentTypeError, Namespace

from models.commands.command import Commands, Said, add, opened
from models.money import dollars, prices
from models.operating import stops
from models.platform import jsonable
from models.platform.db import Database
from models.provider import pauses
from models.settings import Settings

_HOLD_MAX = 100_000_000  # credits, 50 dollars: more than any image costs


def add_to(commands: Commands) -> None:
    """Add these commands."""
    for name, does in (("pause", "let no call begin"), ("resume", "let calls begin again")):
        stop = add(commands, name, _pause, f"{does}: any, a model's, or a project's")
        which = stop.add_mutually_exclusive_group()
        which.add_argument("--model", help="the model's id; a paid image is kept all the same")
        which.add_argument("--project", help="the project's name or id; likewise")

    allow = add(commands, "allow", _allow, "call a model whose price cannot be told ahead")
    allow.add_argument("model", help="the model's id")
    held = allow.add_mutually_exclusive_group(required=True)
    held.add_argument("--hold", type=_credits, help="credits held for a call, and its most")
    held.add_argument("--no", action="store_true", help="call it no more")


def _credits(written: str) -> int:
    if not written.isdecimal() or not 1 <= int(written) <= _HOLD_MAX:
        raise ArgumentTypeError(f"it is a whole number of credits from 1 to {_HOLD_MAX:,}")
    return int(written)


async def _allow(database: Database, asked: Namespace, _: Settings) -> Said:
    """Set what is held for a call to a model without a price, or take that back."""
    async with opened(database) as tx:
        model = await prices.allow(tx, asked.model, None if asked.no else asked.hold)
    if asked.no:
        return Said(f"{model} is called no more, until the provider quotes a price")
    return Said(f"{model}: {asked.hold:,} credits (${dollars.usd(asked.hold)}) are held for a call")


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
