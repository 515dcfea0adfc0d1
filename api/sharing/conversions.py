"""Kept pictures in another format: written by a decoding child when asked for, and kept nowhere."""

from datetime import timedelta
from uuid import UUID

from models.errors import NotFound, Unavailable
from models.images.pictures import Broken, Converted, Pictures
from models.images.storage import Store
from models.platform.places import Places

_AT_ONCE = 2  # pictures that are in memory twice
_SHARE = 1  # of them for one project
_LINE = 64  # of a project's that may wait
_PATIENCE = timedelta(seconds=60)  # a picture takes a second
_CROWDED = (
    "Too many pictures of this project wait to be converted; ask for fewer at once, or for JPEG."
)


class Conversions:
    """What converts pictures, for all of a process: a share for each project."""

    def __init__(self, store: Store, pictures: Pictures) -> None:
        self._store = store
        self._pictures = pictures
        self._places = Places(_AT_ONCE, share=_SHARE, line=_LINE, crowded=_CROWDED)

    async def make(self, project_id: UUID, sha256: str, kind: Converted, quality: int) -> bytes:
        """Return the picture that is kept under this hash as PNG, or as WebP of this quality.

        Raises `NotFound` where it cannot be drawn, `Missing` where it is gone, `TooMany`, `Unavailable`.
        """
        async with self._places.take(project_id, _PATIENCE.total_seconds()):
            data = await self._store.read(f"{project_id}/{sha256}")
            made = await self._pictures.converted(data, kind, quality)
        match made:
            case bytes():
                return made
            case Broken(passing=True):
                raise Unavailable("The picture could not be converted just now; ask again.")
            case Broken(reason):
                raise NotFound(f"The picture cannot be converted ({reason}); take it as it is.")
