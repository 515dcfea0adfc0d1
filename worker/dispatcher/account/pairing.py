"""Pairs what the provider shows without our name with calls of ours that nothing was found of.

Pure: what fits what is the caller's to say. Where several fit each other, they are paired in the order of
time if there are as many of the one as of the other, and if that order is plain wherever it matters: where
what is shown is not alike. Otherwise nobody can know, and none of them is paired.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Generic, TypeVar

from models.schema import Attempt

Shown = TypeVar("Shown")

_PLAIN = timedelta(seconds=2)  # between two calls whose order no hurry on the way has changed


@dataclass(frozen=True, slots=True)
class Candidate(Generic[Shown]):
    """Something the provider shows, when it says that it was, and what it says of the cost."""

    at: datetime
    cost: int | None
    shown: Shown


@dataclass(frozen=True, slots=True)
class Pairs(Generic[Shown]):
    """What belongs together, and calls that something fits which may as well belong to another."""

    found: tuple[tuple[Candidate[Shown], Attempt], ...]
    contested: tuple[Attempt, ...]


def pair(
    shown: Sequence[Candidate[Shown]],
    calls: Sequence[Attempt],
    fits: Callable[[Candidate[Shown], Attempt], bool],
    named: Callable[[Attempt], bool] = lambda _: False,
) -> Pairs[Shown]:
    """Pair what is shown with calls, group by group of what fits each other.

    A call that may yet be `named` leaves its whole group unpaired: what fits it may turn out to be its own.
    """
    found: list[tuple[Candidate[Shown], Attempt]] = []
    contested: list[Attempt] = []
    for candidates, attempts in _groups(shown, calls, fits):
        by_time = sorted(candidates, key=lambda each: each.at)
        in_order = sorted(attempts, key=lambda each: each.sent_at)
        alike = len(by_time) == len(in_order) and _plain(by_time, in_order)
        if alike and not any(map(named, attempts)):
            found += zip(by_time, in_order, strict=True)
        else:
            contested += attempts
    return Pairs(tuple(found), tuple(contested))


def _plain(shown: Sequence[Candidate[Shown]], calls: Sequence[Attempt]) -> bool:
    pairs = list(zip(shown, calls, strict=True))
    return all(
        one.cost == next_.cost
        or (next_.at - one.at > _PLAIN and after.sent_at - call.sent_at > _PLAIN)
        for (one, call), (next_, after) in pairwise(pairs)
    )


def _groups(
    shown: Sequence[Candidate[Shown]],
    calls: Sequence[Attempt],
    fits: Callable[[Candidate[Shown], Attempt], bool],
) -> list[tuple[list[Candidate[Shown]], list[Attempt]]]:
    """Join whatever fits each other, directly or through others; what fits nothing is left out."""
    groups: list[tuple[list[Candidate[Shown]], list[Attempt]]] = []
    for candidate in shown:
        mine: list[Attempt] = [each for each in calls if fits(candidate, each)]
        if not mine:
            continue
        joined: tuple[list[Candidate[Shown]], list[Attempt]] = ([candidate], mine)
        rest = []
        for group in groups:
            if any(each in group[1] for each in mine):
                joined[0].extend(group[0])
                joined[1].extend(each for each in group[1] if each not in joined[1])
            else:
                rest.append(group)
        groups = [*rest, joined]
    return groups
