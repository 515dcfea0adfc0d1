"""References that come inside of a submission: looked at before the 202, away from the event loop."""

import asyncio
from datetime import timedelta
from uuid import UUID

from models.errors import FieldError
from models.images.measuring import measured
from models.images.pictures import Broken, Pictures, Size
from models.images.reference_sizes import PIXELS_MAX
from models.images.references import BadReference
from models.platform.places import Places
from models.provider import catalog
from models.provider.catalog import Inline

DECODERS = 2  # children: while one is busy with a project's pile, the other takes anybody else's
_SHARE = 1  # of them that one project may keep busy
_LINE = 64  # pictures of a project that may wait
_PATIENCE = timedelta(seconds=20)  # for all pictures of a request: clients wait for 30 s, often
_CROWDED = (
    "Too many pictures of this project wait to be looked at; send fewer at once, or https:// URLs."
)
CPU = timedelta(seconds=8)  # for one picture: 36 megapixels take about 2
WALL = timedelta(seconds=20)


class References:
    """What looks at the pictures in submissions, for all of a process: a share for each project."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._places = Places(DECODERS, share=_SHARE, line=_LINE, crowded=_CROWDED)

    async def judge(self, project_id: UUID, inline: tuple[Inline, ...]) -> None:
        """Decode each reference; raises `InvalidRequest` with each one that the provider would refuse.

        `TooMany` when this project's own pile is too high, `Unavailable` when no decoder can be had.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + _PATIENCE.total_seconds()
        errors = []
        for each in inline:
            try:
                measured(each.mime, await self._decoded(project_id, each, until - clock()))
            except BadReference as bad:
                errors.append(FieldError(f"{catalog.AT}/image_urls/{each.index}", str(bad)))
        if errors:
            raise catalog.refusal(errors)

    async def measure(self, project_id: UUID, picture: Inline) -> Size:
        """Decode a picture that comes by itself; raises `BadReference` for what the provider would refuse.

        And as `judge`.
        """
        found = await self._decoded(project_id, picture, _PATIENCE.total_seconds())
        return measured(picture.mime, found)

    async def _decoded(self, project_id: UUID, picture: Inline, patience: float) -> Size | Broken:
        async with self._places.take(project_id, patience):
            return await self._pictures.decode(picture.data, most=PIXELS_MAX, whole=True)
