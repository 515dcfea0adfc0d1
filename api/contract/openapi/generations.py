"""The synchronous routes: what they take and answer, for OpenAPI.

Nothing is validated by these: `api.dropin.reading` reads three dialects, and names what is wrong in each.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from api.contract.openapi.answers import Responses
from api.contract.openapi.parameters import WITH_CALL
from api.contract.requests.jobs import Options
from api.contract.shapes import Generated
from models.provider.catalog import ImageSize

_AT = "#/components/schemas/{model}"
_MODEL = "bytedance/seedream-5-0-lite-preview"


class GenerationBody(BaseModel):
    """The provider's body, OpenAI's, or the provider's older dialect. A null says nothing.

    `quality`, `style`, `moderation`, `background`, `input_fidelity`, `partial_images` and `complexity`
    are taken and change nothing; the answer names them in `X-Darkroom-Ignored`.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"model": _MODEL, "prompt": "A lighthouse in the snow."}]},
    )

    model: str = Field(
        description="A model's id, or an alias: `gpt-image-…` and `dall-e-…` are one."
    )
    prompt: str = Field(description="What the image shows.")
    image_urls: list[str] = Field(
        default_factory=list, description="References, as in `POST /v1/jobs`.", max_length=14
    )
    image_size: ImageSize | Literal["2K", "4K"] = Field(
        default_factory=ImageSize, description="As in `POST /v1/jobs`."
    )
    size: str = Field(
        default="auto", description='The same as `"2048x2048"`, `"2K"`, `"4K"` or `"auto"`.'
    )
    n: Annotated[int, Field(ge=1, le=10)] = Field(
        default=1, description="How many images: a job each. The provider says `num_images`."
    )
    response_format: Literal["url", "b64_json"] = Field(
        default="url", description="`b64_json` unless told otherwise for the alias `gpt-image-…`."
    )
    output_format: Literal["jpeg", "png", "webp", "url", "b64_json"] = Field(
        default="jpeg",
        description="`png` and `webp` are converted; `url` and `b64_json` are a `response_format`.",
    )
    output_compression: Annotated[int, Field(ge=0, le=100)] = Field(
        default=90, description="The quality of a WebP."
    )
    stream: bool = Field(default=False, description="Answer with Server-Sent Events.")
    user: str = Field(default="", description="The job's `customer`; `safety_identifier` likewise.")
    seed: int = Field(default=0, description="As in `POST /v1/jobs`.")
    watermark: bool = Field(default=False, description="As in `POST /v1/jobs`.")
    darkroom: Options = Field(
        default_factory=Options,
        description="Any option of a job; its `priority` is `interactive` unless it says otherwise.",
    )


class EditBody(GenerationBody):
    """What is made from pictures: `image_urls`, or `images` of `{"image_url": …}` as OpenAI has it."""

    image_urls: list[str] = Field(
        description="The pictures, in order: https:// or data: URLs.", min_length=1, max_length=14
    )


class EditForm(BaseModel):
    """The same as a form. Fields of an object have names such as `darkroom[metadata][order]`."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(description="As in JSON.")
    prompt: str = Field(description="As in JSON.")
    image: list[bytes] = Field(
        description="The pictures, in order; `image[]` is the same. At most 10 MB each.",
        min_length=1, max_length=14,
    )  # fmt: skip


_EVENTS = {
    "type": "object", "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["image_generation.completed", "image_edit.completed", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}  # fmt: skip
GENERATED: Responses = {
    200: {
        "model": Generated,
        "description": "The images are kept. With `stream` as events; with `Accept: image/*` and one "
        "image its bytes.",
        "content": {"text/event-stream": {"itemSchema": _EVENTS}, "image/*": {}},
    },
}


def _taken(**content: object) -> dict[str, Any]:
    return WITH_CALL | {"requestBody": {"required": True, "content": content}}


def _body(name: str) -> dict[str, object]:
    return {"schema": {"$ref": _AT.format(model=name)}}


WITH_GENERATION = _taken(**{"application/json": _body("GenerationBody")})
WITH_EDIT = _taken(
    **{"multipart/form-data": _body("EditForm"), "application/json": _body("EditBody")}
)
SCHEMAS = models_json_schema(
    [(GenerationBody, "validation"), (EditBody, "validation"), (EditForm, "validation")],
    ref_template=_AT,
)[1]["$defs"]
"""What the bodies refer to, and FastAPI does not know."""
