"""Files."""

from typing import Annotated, Literal

from pydantic import Field

from api.contract.shapes.parts import Page, Shape

FileId = Annotated[str, Field(pattern="^file_[0-9a-z]{26}$")]


class File(Shape):
    """A picture that is kept to draw from it; its first members are those of OpenAI's files."""

    id: FileId
    object: Literal["file"]
    bytes: int
    created_at: int = Field(description="unix seconds, as in OpenAI's API")
    expires_at: int = Field(description="unix seconds; each use moves it on")
    filename: str
    purpose: Literal["vision"]
    status: Literal["processed"]
    content_type: str
    width: int
    height: int
    sha256: str = Field(description="of the bytes, in hex")
    customer: str | None


class FilePage(Page):
    """Files, newest first."""

    data: list[File]


class FileDeleted(Shape):
    """That a file is deleted, as OpenAI's API says it."""

    id: FileId
    object: Literal["file"]
    deleted: Literal[True]
