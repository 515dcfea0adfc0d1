"""References that the project keeps already: `job_…/images/0`, and files, `file_…`.

Such a picture is in the store, was decoded when it was kept, and says how large it is, so nothing of it is
read here: the job refers to the kept bytes, as a retry does to those of the job before.
"""

import re
from collections.abc import Iterable, Mapping
from uuid import UUID

from api.dependencies.state import State
from models import ids
from models.accounts.callers import Caller
from models.errors import FieldError
from models.images import files, records
from models.images.reference_sizes import judge_kept
from models.images.references import KeptReference
from models.platform.db import Transaction
from models.platform.wording import shown
from models.provider import catalog
from models.schema import File, Image

_NAME = re.compile(r"(job|file)_[0-9a-z]{26}(/images/0)?")
# References of an input; a list of more than a model takes is refused by its length.
_LOOKED_AT = 32


async def find(here: State, caller: Caller, raw: object) -> Mapping[int, KeptReference]:
    """Return the references of an input that name such pictures, by their place in `image_urls`.

    Files are kept for longer from here on. Raises `InvalidRequest` for each that is not there, or that the
    provider would refuse.
    """
    urls = raw.get("image_urls") if isinstance(raw, dict) else None
    listed = urls[:_LOOKED_AT] if isinstance(urls, list) else []
    named = {place: found for place, url in enumerate(listed) if (found := _parsed(url))}
    if not named:
        return {}
    async with here.turns.open(caller.project_id) as tx:
        kept = await _kept(tx, here, caller.project_id, named.values())
    problems = {place: _problem(listed[place], kept.get(of)) for place, of in named.items()}
    errors = [
        FieldError(f"{catalog.AT}/image_urls/{place}", problem)
        for place, problem in problems.items()
        if problem
    ]
    if errors:
        raise catalog.refusal(errors)
    return {place: _reference(kept[of]) for place, of in named.items()}


def _parsed(url: object) -> tuple[str, UUID] | None:
    """Return the kind and the id of a picture that is named; None for any other reference."""
    name = _NAME.fullmatch(url) if isinstance(url, str) else None
    if name is None or (name[1] == ids.JOB) != bool(name[2]):
        return None
    found = ids.parse(name[1], name[0].partition("/")[0])
    return None if found is None else (name[1], found)


async def _kept(
    tx: Transaction, here: State, project_id: UUID, named: Iterable[tuple[str, UUID]]
) -> Mapping[tuple[str, UUID], Image | File]:
    of: dict[str, set[UUID]] = {ids.JOB: set(), ids.FILE: set()}
    for kind, found in named:
        of[kind].add(found)
    kept: dict[tuple[str, UUID], Image | File] = {}
    if of[ids.JOB]:
        images = await records.kept_of(tx, project_id, of[ids.JOB])
        kept |= {(ids.JOB, job): image for job, image in images.items()}
    if of[ids.FILE]:
        found_ = await files.use(tx, project_id, of[ids.FILE], here.settings.file_retention)
        kept |= {(ids.FILE, file_id): file for file_id, file in found_.items()}
    return kept


def _problem(name: str, picture: Image | File | None) -> str | None:
    if picture is not None:
        return judge_kept(picture.bytes, picture.width, picture.height)
    if name.startswith(ids.FILE):
        return f"{shown(name)} is not a file of this project; it may have been deleted or have expired."
    return (
        f"{shown(name)} is not an image of this project: there is no such job, its image is not kept yet, "
        "or it was deleted."
    )


def _reference(picture: Image | File) -> KeptReference:
    return KeptReference(picture.content_type, picture.sha256, picture.bytes)
