"""The pictures of an answer: opened in the store before anything is sent, and sent piece by piece."""

from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass

from api.dependencies.state import State
from api.dropin.outputs import Conversion
from models import ids
from models.errors import ImageExpired
from models.images.store_errors import Missing
from models.jobs import Snapshot
from models.schema import Image

_SLICE = 3 * 256 * 1024  # bytes of a converted picture that are written at once: whole threes


@dataclass(frozen=True, slots=True)
class Picture:
    """One kept image, as a call wants it: its bytes come as `pieces`, `length` of them."""

    pieces: AsyncIterator[bytes]
    length: int
    content_type: str

    @property
    def format(self) -> str:
        """The name of its format: `jpeg`, `png` or `webp`."""
        return self.content_type.partition("/")[2]

    @property
    def encoded_length(self) -> int:
        """How many characters it has in base 64 (RFC 4648), padding included."""
        return -(-self.length // 3) * 4

    async def encoded(self) -> AsyncIterator[bytes]:
        """Yield it in base 64."""
        rest = b""
        async for piece in self.pieces:
            data = rest + piece
            whole = len(data) - len(data) % 3
            yield b64encode(data[:whole])
            rest = data[whole:]
        yield b64encode(rest)


async def opened(here: State, found: Snapshot, conversion: Conversion | None) -> Picture:
    """Open a job's kept image. Raises `ImageExpired` where it is gone, and as `Conversions.make`."""
    image = kept(found)
    project_id = found.job.project_id
    try:
        if conversion is None or image.content_type == f"image/{conversion.kind}":
            pieces = await here.store.open(f"{project_id}/{image.sha256}")
            return Picture(pieces, image.bytes, image.content_type)
        data = await here.conversions.make(
            project_id, image.sha256, conversion.kind, conversion.quality
        )
    except Missing:
        raise ImageExpired("The image is no longer in the store.") from None
    return Picture(_sliced(data), len(data), f"image/{conversion.kind}")


def kept(found: Snapshot) -> Image:
    """Return a job's image. Raises `ImageExpired` where it has one no more."""
    image = found.image
    if image is None or image.removed_at is not None:
        raise ImageExpired("The image's retention has ended, or its job was erased.")
    return image


def link(here: State, found: Snapshot, conversion: Conversion | None) -> str:
    """Sign a URL that shows a job's image as a call wants it."""
    image, presenter = kept(found), here.presenter
    if conversion is None or image.content_type == f"image/{conversion.kind}":
        return presenter.image_url(found.job, image, found.now)
    url = presenter.image_url(found.job, image, found.now, f"/{conversion.kind}")
    return f"{url}&quality={conversion.quality}" if conversion.kind == "webp" else url


def size(found: Snapshot) -> str:
    """Write width and height as the provider does."""
    image = kept(found)
    return f"{image.width}x{image.height}"


def job_id(found: Snapshot) -> str:
    """Write the id of the job."""
    return ids.text(ids.JOB, found.job.id)


async def _sliced(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), _SLICE):
        yield data[at : at + _SLICE]
