"""What comes with a file, and which files are listed."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.contract.formats import cursors
from api.contract.requests.parts import Customer
from models import ids


def _is_file(written: str) -> str:
    if ids.parse(ids.FILE, written) is None:
        raise ValueError("this is no id of a file; one is file_ and 26 letters or digits")
    return written


class FileFields(BaseModel):
    """What is said of a file beside its bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    purpose: Annotated[str, Field(max_length=64)] = Field(
        default="vision", description="OpenAI's field; any text is taken, and changes nothing."
    )
    customer: Customer | None = Field(
        default=None, description="Whom it is kept for: it is erased with this customer."
    )


class FileUrl(FileFields):
    """Where a picture is: Darkroom fetches it, once."""

    url: Annotated[str, Field(min_length=1)] = Field(
        description="A public https address, or a `data:` URL as in `image_urls`."
    )


class FileForm(FileFields):
    """A picture, as OpenAI's SDKs send it."""

    file: bytes = Field(
        description="PNG, JPEG, WebP, BMP, TIFF or GIF; 10 MiB and 36 megapixels at most."
    )


class FileQuery(BaseModel):
    """A page of files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=64)] | None = None
    after: Annotated[
        Annotated[str, AfterValidator(_is_file)] | None,
        Field(description="the last id of the page before: OpenAI's way to go on"),
    ] = None

    @property
    def before(self) -> UUID | None:
        """The id that the page before ended with; raises `InvalidRequest`."""
        if self.cursor is not None:
            return cursors.read(self.cursor)
        return None if self.after is None else ids.parse(ids.FILE, self.after)
