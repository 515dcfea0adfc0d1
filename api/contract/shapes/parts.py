"""What several answers have in common: ids, money, pages."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

JobId = Annotated[str, Field(pattern="^job_[0-9a-z]{26}$")]
KeyId = Annotated[str, Field(pattern="^key_[0-9a-z]{26}$")]
EndpointId = Annotated[str, Field(pattern="^whk_[0-9a-z]{26}$")]
Credits = Annotated[int, Field(description="2,000,000 of them are one US dollar")]
Usd = Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]+$", description="US dollars, exactly")]
Charged = Literal["no", "yes", "unknown"]
JobStatus = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]


class Shape(BaseModel):
    """An answer's shape, for OpenAPI; its validator is made if anybody asks for it: no request does."""

    model_config = ConfigDict(defer_build=True)


class Page(Shape):
    """Some of a list, and how to go on."""

    object: Literal["list"]
    has_more: bool
    next_cursor: str | None


class Cost(Shape):
    """Credits, and what they are in dollars."""

    credits: Credits
    usd: Usd
