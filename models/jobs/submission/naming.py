"""The name of a request: by its Idempotency-Key and the fingerprint of its body it is known again."""

import json
from collections.abc import Callable
from hashlib import sha256
from itertools import zip_longest
from secrets import token_hex
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select

from models import ids
from models.accounts.callers import Caller
from models.errors import KeyReuse
from models.jobs.submission.candidates import Idempotency
from models.platform.db import Transaction
from models.schema import Action, Batch, Erasure, Job, Project

Made = TypeVar("Made", Job, Batch, Action, Erasure)
Wished = TypeVar("Wished", Action, Erasure)

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_LARGE = 64 * 1024  # characters


async def earlier(tx: Transaction, caller: Caller, idempotency: Idempotency | None) -> Job | None:
    """Return the job that a request of this name made; raises `KeyReuse` when its body was another."""
    if idempotency is None:
        return None
    route, key, fingerprint = idempotency
    job = await tx.scalar(
        select(Job).where(
            Job.project_id == caller.project_id,
            Job.idempotency_route == route,
            Job.idempotency_key == key,
        )
    )
    return demand_same(job, fingerprint, lambda job: ids.text(ids.JOB, job.id))


async def wished_before(
    tx: Transaction,
    kind: type[Wished],
    prefix: str,
    project_id: UUID,
    name: tuple[bytes, bytes] | None,
) -> Wished | None:
    """Return the action or erasure that a request of this name made, or raise `KeyReuse`.

    `name` is the hash of an Idempotency-Key, and that of its request. Other such requests of the project
    wait until this transaction ends; submissions do not.
    """
    mine = select(Project.id).where(Project.id == project_id)
    await tx.execute(mine.with_for_update(key_share=True))
    if name is None:
        return None
    named = kind.project_id == project_id, kind.idempotency_hash == name[0]
    made = await tx.scalar(select(kind).where(*named))
    return demand_same(made, name[1], lambda made: ids.text(prefix, made.id))


def demand_same(
    made: Made | None, fingerprint: bytes, written: Callable[[Made], str]
) -> Made | None:
    """Return what an earlier request of this name made; raise `KeyReuse` when its body was another."""
    if made is not None and made.fingerprint != fingerprint:
        raise KeyReuse(
            f"This Idempotency-Key came before with another body, and made {written(made)}. Use a new "
            "key for a new request."
        )
    return made


def fingerprint(body: object) -> bytes:
    """Hash a request's body so that the same JSON, in whatever order, has the same hash.

    Large references are hashed beside the rest: written as one JSON text, 60 MB of them would hold up
    every other thread for half a second.
    """
    given = body.get("input") if isinstance(body, dict) else None
    urls = given.get("image_urls") if isinstance(given, dict) else None
    if not (isinstance(body, dict) and isinstance(given, dict) and isinstance(urls, list)):
        return sha256(_CANONICAL.encode(body).encode()).digest()
    mark, aside = token_hex(16), list[str]()  # a mark that no body can know

    def set_aside(url: object) -> object:
        if not isinstance(url, str) or len(url) < _LARGE or not _is_plain(url):
            return url
        aside.append(url)
        return mark

    rest = {**body, "input": {**given, "image_urls": [set_aside(url) for url in urls]}}
    digest = sha256()
    for text, url in zip_longest(_CANONICAL.encode(rest).split(mark), aside, fillvalue=""):
        digest.update(text.encode())
        digest.update(url.encode())
    return digest.digest()


def _is_plain(text: str) -> bool:
    """Return whether JSON writes a text as it is."""
    parts = (text[at : at + _LARGE] for at in range(0, len(text), _LARGE))
    return (
        '"' not in text and "\\" not in text and all(p.isascii() and p.isprintable() for p in parts)
    )
