"""What FastAPI leaves out: headers, examples, shared refusals, and bodies that it does not read."""

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from api.contract import shapes
from api.contract.openapi import examples, files, generations, refusals
from api.contract.requests.batches import BatchBody, Row
from models import errors

_AT = "#/components/schemas/{model}"
_HEADERS = {
    "X-Request-Id": "Names this request in our logs, and in a problem's `request_id`.",
    "ETag": "Names this state: send it as `If-None-Match`, and 304 says that it still stands.",
    "Location": "Where it is.",
    "Retry-After": "Whole seconds after which to ask again.",
    "Idempotent-Replayed": "`true` where the Idempotency-Key had made this job before.",
    "X-Darkroom-Job": "The job of each image that was asked for.",
    "X-Darkroom-Ignored": "Fields of the body that change nothing here.",
    "x-inference-id": "The provider's reference of each call that made an image.",
    "x-aimlapi-credits-used": "What those calls cost, once it is known.",
    "Preference-Applied": "The wait that was preferred, as it was applied.",
}
# The headers of an answer beside X-Request-Id, which every answer has, by operation and status.
_ACCEPTED_WITH = ("Location", "ETag", "Retry-After", "Idempotent-Replayed", "Preference-Applied")
_GENERATED_WITH = (
    "X-Darkroom-Job",
    "x-inference-id",
    "x-aimlapi-credits-used",
    "X-Darkroom-Ignored",
)
_BATCH_WITH = ("Location", "ETag", "Retry-After", "Idempotent-Replayed")
_HEADED: dict[str, dict[str, tuple[str, ...]]] = {
    "request_erasure": {"202": ("Location", "Idempotent-Replayed")},
    "request_action": {"202": ("Location", "Idempotent-Replayed")},
    "submit_job": {"200": _ACCEPTED_WITH, "202": _ACCEPTED_WITH},
    "retry_job": {"200": _ACCEPTED_WITH, "202": _ACCEPTED_WITH},
    "get_job": {"200": ("ETag", "Retry-After", "Preference-Applied"), "304": ("ETag",)},
    "cancel_job": {"200": ("ETag", "Retry-After")},
    "submit_batch": {"202": _BATCH_WITH},
    "retry_batch": {"202": _BATCH_WITH},
    "get_batch": {"200": ("ETag", "Retry-After", "Preference-Applied")},
    "get_item": {"200": ("ETag",)},
    "pause_batch": {"200": ("ETag", "Retry-After")},
    "resume_batch": {"200": ("ETag", "Retry-After")},
    "cancel_batch": {"200": ("ETag", "Retry-After")},
    "change_batch": {"200": ("ETag", "Retry-After")},
    "get_image": {"200": ("ETag",), "206": ("ETag",), "304": ("ETag",)},
    "generate_images": {"200": _GENERATED_WITH},
    "get_thumbnail": {"200": ("ETag",), "206": ("ETag",), "304": ("ETag",)},
    "create_file": {"200": ("Location",), "201": ("Location",)},
    "get_file_content": {"200": ("ETag",), "206": ("ETag",), "304": ("ETag",)},
    "get_reference": {"200": ("ETag",), "206": ("ETag",), "304": ("ETag",)},
}
_ASK_LATER = {"409", "429", "503"}
COMPONENTS: dict[str, dict[str, Any]] = {
    "schemas": models_json_schema(
        [
            (shapes.Problem, "serialization"),
            (shapes.FieldProblem, "serialization"),
            (shapes.ResultRow, "serialization"),
            (BatchBody, "validation"),
            (Row, "validation"),
        ],
        ref_template=_AT,
    )[1]["$defs"],
    "examples": {
        name: {"value": each}
        for name, each in (
            examples.ALL | {each.code: refusals.example(each) for each in errors.refusals()}
        ).items()
    },
}
"""What all of these refer to, and FastAPI does not know."""


def complete(described: dict[str, Any]) -> dict[str, Any]:
    """Add to a description what FastAPI cannot say; a refusal is said once, and routes refer to it."""
    components = described["components"]
    components["schemas"].update(generations.SCHEMAS | files.SCHEMAS)
    for kind, named in COMPONENTS.items():
        components.setdefault(kind, {}).update(named)
    components["headers"] = {
        name: {"description": told, "schema": {"type": "string"}} for name, told in _HEADERS.items()
    }
    shared = components["responses"] = {
        _named(status): _with_headers(said, ["Retry-After"] if status in _ASK_LATER else [])
        for status, said in ((str(status), said) for status, said in refusals.REFUSALS.items())
    }
    for operation in (each for path in described["paths"].values() for each in path.values()):
        headed = _HEADED.get(operation["operationId"], {})
        for status, said in operation["responses"].items():
            refused = "application/problem+json" in said.get("content", {})
            operation["responses"][status] = (
                {"$ref": f"#/components/responses/{_named(status)}"}
                if refused and _named(status) in shared
                else _with_headers(said, headed.get(status, ()))
            )
    return described


def _named(status: str) -> str:
    """Return the name of the component with the refusals of a status."""
    return f"Refused{status}"


def _with_headers(said: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    named = ("X-Request-Id", *names)
    return said | {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in named}}
