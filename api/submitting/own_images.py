"""References that name images of the project's own jobs: `job_…/images/0`, drawn from without being sent.

Such an image is in the store, was decoded when it was kept, and says how large it is, so nothing of it is
read here: the job refers to the kept bytes, as a retry does to those of the job before.
"""

import re
from collections.abc import Mapping

from api.dependencies.state import State
from models import ids
from models.accounts.callers import Caller
from models.errors import FieldError
from models.images import records
from models.images.reference_sizes import judge_kept
from models.images.references import KeptReference
from models.platform.wording import shown
from models.provider import catalog
from models.schema import Image

_NAME = re.compile(r"(job_[0-9a-z]{26})/images/0")
_LOOKED_AT = (
    32  # references of an input; a list of more than a model takes is refused by its length
)


async def find(here: State, caller: Caller, raw: object) -> Mapping[int, KeptReference]:
    """Return the references of an input that name such images, by their place in `image_urls`.

    Raises `InvalidRequest` for each that is not there, or that the provider would refuse.
    """
    urls = raw.get("image_urls") if isinstance(raw, dict) else None
    listed = urls[:_LOOKED_AT] if isinstance(urls, list) else []
    named = {
        place: job
        for place, url in enumerate(listed)
        if isinstance(url, str) and (name := _NAME.fullmatch(url))
        if (job := ids.parse(ids.JOB, name[1])) is not None
    }
    if not named:
        return {}
    async with here.turns.open(caller.project_id) as tx:
        kept = await records.kept_of(tx, caller.project_id, named.values())
    problems = {place: _problem(listed[place], kept.get(job)) for place, job in named.items()}
    errors = [
        FieldError(f"{catalog.AT}/image_urls/{place}", problem)
        for place, problem in problems.items()
        if problem
    ]
    if errors:
        raise catalog.refusal(errors)
    return {place: _reference(kept[job]) for place, job in named.items()}


def _problem(name: str, image: Image | None) -> str | None:
    if image is None:
        return (
            f"{shown(name)} is no image of this project: there is no such job, or it has no image yet, "
            "or none any more."
        )
    return judge_kept(image.bytes, image.width, image.height)


def _reference(image: Image) -> KeptReference:
    return KeptReference(image.content_type, image.sha256, image.bytes)
