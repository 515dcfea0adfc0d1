"""What the busiest routes read of a request themselves.

As parameters FastAPI would look at their types again for each of thousands of requests.
"""

_AT = "#/components/schemas/{model}"


def _parameter(
    where: str, name: str, title: str, description: str, **type_: object
) -> dict[str, object]:
    schema = {"anyOf": [type_ or {"type": "string"}, {"type": "null"}], "title": title}
    return {
        "name": name,
        "in": where,
        "required": False,
        "schema": schema | {"description": description},
        "description": description,
    }


WAIT_MAX = 60  # seconds that a client is held at most
_HELD = [
    _parameter(
        "query", "wait", "Wait", "seconds to hold", type="integer", minimum=0, maximum=WAIT_MAX
    ),
    _parameter("header", "prefer", "Prefer", "`wait=30` holds like `?wait=30`"),
]
_NAMED_BY = ("header", "idempotency-key", "Idempotency-Key")
WITH_KEY = {
    "parameters": [
        _parameter(*_NAMED_BY, "1-255 visible ASCII characters; one key, one job."),
        *_HELD,
    ]
}
KEYED = {
    "parameters": [_parameter(*_NAMED_BY, "1-255 visible ASCII characters; one key, one request.")]
}
WITH_CALL = {
    "parameters": [
        _parameter(*_NAMED_BY, "1-255 visible ASCII characters; one key, one call."),
        _parameter(
            "header",
            "prefer",
            "Prefer",
            "`handling=lenient`: a size that the model does not draw becomes the nearest that it does",
        ),
    ]
}
WITH_HOLD = {"parameters": _HELD}
WITH_BATCH = KEYED | {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": _AT.format(model="BatchBody")}},
            "application/x-ndjson": {"itemSchema": {"$ref": _AT.format(model="Row")}},
            "text/csv": {
                "example": "custom_id,prompt,image_size,metadata.sku\na-1,A red bicycle,2K,B-17\n"
            },
        },
    },
}
WITH_POLL = {
    "parameters": [
        *_HELD,
        _parameter(
            "header", "if-none-match", "If-None-Match", "an ETag: 304 while it still stands"
        ),
    ]
}
WITH_METADATA = {
    "parameters": [
        _parameter(
            "query",
            "metadata",
            "Metadata",
            "jobs with all of these pairs: `metadata[order]=A-17`",
            type="object",
            additionalProperties={"type": "string"},
        )
        | {"style": "deepObject", "explode": True}
    ]
}
