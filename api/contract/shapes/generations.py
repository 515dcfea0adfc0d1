"""What synchronous calls are answered, in the shape of the provider's and of OpenAI's."""

from pydantic import Field

from api.contract.shapes.jobs import ResultMeta
from api.contract.shapes.parts import JobId, Shape


class GeneratedImage(Shape):
    """A kept image: exactly one of `url` and `b64_json`."""

    url: str = Field(default_factory=str)
    b64_json: str = Field(default_factory=str)
    size: str
    job_id: JobId


class GenerationError(Shape):
    """Why one of several images was not made."""

    job_id: JobId
    code: str
    message: str


class Generated(Shape):
    """The answer of the provider, and of OpenAI."""

    created: int = Field(description="unix seconds")
    data: list[GeneratedImage]
    meta: ResultMeta
    errors: list[GenerationError] = Field(
        default_factory=list, description="where some of several images were not made"
    )
