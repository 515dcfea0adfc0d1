"""The references of a paid call: inside of it while they are small enough, else as signed URLs of ours."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta

from models import ids
from models.errors import EgressRefused
from models.images import urls
from models.images.references import KeptReference, parse_descriptor, restore_input, urls_of
from models.jobs import Start
from models.platform.addresses import ANY_PORT, check_url
from models.provider import catalog
from models.settings import Settings
from worker.runtime.context import Context

_LIFE = timedelta(hours=1)  # of a URL: a call takes some minutes, and clocks may be ten apart


async def body(context: Context, start: Start) -> dict[str, object]:
    """Write the body of a call, with references that lie in the store as the provider can read them.

    Raises `Missing`, `ReferenceLost`, `StoreUnavailable`.
    """
    found = enumerate(map(parse_descriptor, urls_of(start.input)))
    kept = {place: each for place, each in found if each is not None}
    linked = _too_much(context.settings, kept)
    blobs = {
        each.sha256: await context.store.read(f"{start.project_id}/{each.sha256}")
        for place, each in kept.items()
        if place not in linked
    }
    links = {place: _signed(context, start, place) for place in linked}
    return catalog.provider_body(restore_input(start.input, blobs, links))


def _too_much(settings: Settings, kept: Mapping[int, KeptReference]) -> AbstractSet[int]:
    """Return the places of the largest, without which the others are small enough together."""
    left, linked = settings.inline_max_bytes, set[int]()
    for place in sorted(kept, key=lambda place: kept[place].length):
        if kept[place].length > left:
            linked.add(place)
        left -= kept[place].length
    return linked if linked and _reaches_us(settings) else frozenset()


def _reaches_us(settings: Settings) -> bool:
    """Return whether the provider can fetch from DARKROOM_PUBLIC_URL: as all can, or from this machine."""
    return _is_public(settings.public_url) or not _is_public(settings.aimlapi_base_url)


def _is_public(url: str) -> bool:
    try:
        check_url(url, exceptions=(), ports=ANY_PORT)
    except EgressRefused:
        return False
    return True


def _signed(context: Context, start: Start, place: int) -> str:
    path = f"/v1/jobs/{ids.text(ids.JOB, start.ref.job_id)}/references/{place}"
    until = datetime.now(UTC) + _LIFE
    return urls.sign(context.vault, context.settings.public_url, path, until)
