"""How long a synchronous call is held: as the operator allows, less where its client gives up before."""

from datetime import timedelta

from fastapi import Request

# OpenAI's SDKs tell theirs, in seconds: Python's of one read, Node's until the head of the answer.
_TOLD = ("x-stainless-read-timeout", "x-stainless-timeout")
_ROUND_TRIP = 10.0  # seconds that an answer may take to get there
_ENDLESS = 1e9
_LEAST = 1.0  # second: a client that is as impatient as that waits for half of its own time at most


def of(request: Request, most: timedelta) -> timedelta:
    """Return for how long to hold this request."""
    told = _client(request)
    if told is None:
        return most
    return min(most, timedelta(seconds=max(told - _ROUND_TRIP, min(_LEAST, told / 2))))


def between_signs(request: Request, usual: timedelta) -> timedelta:
    """Return how often a stream must show a sign of life."""
    told = _client(request)
    return usual if told is None else min(usual, timedelta(seconds=max(told / 2, 0.1)))


def _client(request: Request) -> float | None:
    """Return after how many seconds the client gives up, if it says so."""
    told = []
    for name in _TOLD:
        try:
            seconds = float(request.headers.get(name, ""))
        except ValueError:
            continue
        if 0 < seconds < _ENDLESS:  # nor is it `nan`
            told.append(seconds)
    return min(told, default=None)
