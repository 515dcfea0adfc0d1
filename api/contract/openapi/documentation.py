"""What OpenAPI says of answers: their shapes, examples that people can read, and every refusal."""

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from api.contract import shapes
from api.contract.openapi import examples
from api.contract.requests.batches import BatchBody, Row
from models import errors

Responses = dict[int | str, dict[str, Any]]

_AT = "#/components/schemas/{model}"


def _answer(shape: object, description: str, example: str = "", status: int = 200) -> Responses:
    """Return the description of an answer; FastAPI takes its schema from `model`."""
    content = {"application/json": _shown(example)} if example else {}
    return {status: {"model": shape, "description": description, "content": content}}


def _shown(*examples_: str) -> dict[str, Any]:
    """Refer to examples: FastAPI would leave out what is null in them."""
    named = {name: {"$ref": f"#/components/examples/{name}"} for name in examples_}
    return {"examples": named}


JOB = _answer(shapes.Job, "The job as it is now.", "Job")
POLLED: Responses = JOB | {304: {"description": "The caller's ETag still stands."}}
_SURVIVES, _WAITED_FOR = (
    "Accepted: the job survives whatever dies from here on.",
    "Accepted, waited for, and finished.",
)
ACCEPTED = _answer(shapes.Job, _SURVIVES, "AcceptedJob", status=202) | _answer(
    shapes.Job, _WAITED_FOR, "Job"
)
SUBMITTED = _answer(
    shapes.Submitted, f"{_SURVIVES} With `n`: the group.", "AcceptedJob", status=202
) | _answer(shapes.Submitted, f"{_WAITED_FOR} With `n`: the group.", "Job")
JOBS = _answer(
    shapes.JobPage, "A page, newest first; or with `Accept: text/csv` all of it.", "JobPage"
)
JOBS[200]["content"]["text/csv"] = {"example": "id,status,created_at,…"}
STREAM: Responses = {200: {
    "description": "Server-Sent Events named `job`: a snapshot first, then each change. `data` is the "
    "job as GET shows it, `id` its ETag; send it as `Last-Event-ID` to resume.",
    # `itemSchema` as in OpenAPI 3.2, and as FastAPI writes it: what each event is.
    "content": {"text/event-stream": {"itemSchema": {
        "type": "object", "required": ["id", "event", "data"], "properties": {
            "id": {"type": "string"}, "event": {"const": "job"},
            "data": {
                "type": "string", "contentMediaType": "application/json",
                "contentSchema": {"$ref": "#/components/schemas/Job"},
            },
        },
    }}},
}, 204: {"description": "`Last-Event-ID` is the last event of a job that has ended."}}  # fmt: skip
ERASED: Responses = {204: {"description": "Its input and images are erased, or were before."}}
EXPLANATION = _answer(
    shapes.Explanation,
    "What binds the job now. `binding` is empty unless it waits.",
    "Explanation",
)
ACTION = _answer(shapes.Action, "The action as it is now.", "Action")
ACTIONS = _answer(shapes.ActionPage, "A page, newest first.", "ActionPage")
ACTION_ASKED = _answer(
    shapes.ActionPreview, "With `dry_run`: what it would do.", "ActionPreview"
) | _answer(shapes.Action, "Accepted: it goes on by itself.", "Action", status=202)
ERASURE = _answer(shapes.Erasure, "The erasure as it stands.", "Erasure")
ERASURES = _answer(shapes.ErasurePage, "A page, newest first.", "ErasurePage")
ERASURE_ASKED = _answer(shapes.Erasure, "Accepted: it goes on by itself.", "Erasure", status=202)
ENDPOINT = _answer(shapes.Endpoint, "The endpoint as it is now.", "Endpoint")
ENDPOINTS = _answer(shapes.EndpointList, "All of them, newest first.")
ENDPOINT_MADE = _answer(
    shapes.EndpointWithSecret,
    "The endpoint, and its secret, this once.",
    "EndpointMade",
    status=201,
)
ENDPOINT_ROTATED = _answer(
    shapes.EndpointWithSecret, "The endpoint, and its fresh secret, this once.", "EndpointRotated"
)
SECRET = _answer(shapes.Secret, "The secret.")
SECRET_ROTATED = _answer(shapes.RotatedSecret, "The fresh secret.")
DELIVERY = _answer(shapes.Delivery, "The delivery as it is now.", "Delivery")
DELIVERIES = _answer(shapes.DeliveryPage, "A page, newest first.", "DeliveryPage")
REDELIVERED = _answer(
    shapes.Delivery,
    "It is due now; `tries` keeps what was met before.",
    "Delivery",
    status=202,
)
TESTED = _answer(
    shapes.TestDelivery,
    "What became of the ping; `message` says it in a sentence.",
    "TestDelivery",
)
REPLAYED = _answer(
    shapes.Replay, "How many are due again now, and the cursor to go on with.", "Replay"
)
KEY = _answer(shapes.ApiKey, "The key as it is now.", "ApiKey")
KEYS = _answer(shapes.ApiKeyList, "All of them, newest first.")
KEY_MADE = _answer(
    shapes.ApiKeyWithSecret,
    "The key, whole, this once.",
    "ApiKeyMade",
    status=201,
)
BUDGET = _answer(shapes.Budget, "The budget, and where it stands now.", "Budget")
BUDGETS = _answer(shapes.BudgetList, "All of them, oldest first.")
NOW = _answer(shapes.Now, "How things stand.")
USAGE = _answer(shapes.UsageReport, "The report.", "UsageReport")
LEDGER = _answer(shapes.LedgerPage, "A page; or with `Accept: text/csv` all of it.", "LedgerPage")
LEDGER[200]["content"]["text/csv"] = {"example": ",".join(examples.LINE)}
QUOTE = _answer(shapes.Quote, "The quote.", "Quote")
MODEL = _answer(shapes.Model, "The model.")
MODELS = _answer(shapes.ModelList, "All that can be called.")
BYTES: Responses = {
    200: {"description": "The bytes.", "content": {"image/*": {}}},
    206: {"description": "The part that was asked for.", "content": {"image/*": {}}},
    304: {"description": "The caller has these bytes."},
    416: {"description": "No such part."},
}
SHARED = _answer(shapes.SharedImage, "The link, and until when it works.", "SharedImage")
WATCHED: Responses = {200: {
    "description": "Server-Sent Events. `change`: `data` is what happened to which job, `id` its place; "
    "send it as `Last-Event-ID` to be told what came since, ten minutes back at most. `skipped`: more "
    "happened than is told; read again what you show. A change may be told more than once.",
    "content": {"text/event-stream": {"itemSchema": {
        "type": "object", "required": ["event", "data"], "properties": {
            "id": {"type": "string"}, "event": {"enum": ["change", "skipped"]},
            "data": {
                "type": "string", "contentMediaType": "application/json", "contentSchema": {
                    "type": "object", "properties": {
                        "type": {"type": "string"}, "job": {"type": "string"},
                        "at": {"type": "string", "format": "date-time"},
                    },
                },
            },
        },
    }}},
}}  # fmt: skip
BATCH = _answer(shapes.Batch, "The batch, or the group, as it is now.")
BATCHES = _answer(shapes.BatchPage, "A page, newest first.")
BATCH_TAKEN = _answer(
    shapes.TakenBatch, "Accepted: every row of it survives whatever dies from here on.", status=202
) | _answer(shapes.BatchQuote, "With `dry_run`: what it would be.")
BATCH_MADE = _answer(shapes.TakenBatch, "Accepted: a new batch.", status=202)
BATCH_ITEMS = _answer(shapes.BatchItems, "A page, in the order in which they came.")
BATCH_RESULTS: Responses = {200: {
    "description": "A line, a row of CSV or a file for each row, in the order in which they came.",
    "content": {
        "application/x-ndjson": {"itemSchema": {"$ref": "#/components/schemas/ResultRow"}},
        "text/csv": {}, "application/zip": {},
    },
}}  # fmt: skip
BATCH_STREAM: Responses = {200: {
    "description": "Server-Sent Events named `batch`, or `group`: a snapshot first, then each change. "
    "`id` is its ETag; send it as `Last-Event-ID` to resume.",
    "content": {"text/event-stream": {"itemSchema": {
        "type": "object", "required": ["id", "event", "data"], "properties": {
            "id": {"type": "string"}, "event": {"enum": ["batch", "group"]},
            "data": {
                "type": "string", "contentMediaType": "application/json",
                "contentSchema": {"$ref": "#/components/schemas/Batch"},
            },
        },
    }}},
}, 204: {"description": "`Last-Event-ID` is the last event of a batch that is over."}}  # fmt: skip
HEALTHY = _answer(shapes.Health, "It lives.", "Healthy")
READY = _answer(shapes.Health, "Send it requests.", "Healthy") | _answer(
    shapes.Health,
    "Send it no requests.",
    "Draining",
    status=503,
)
METRICS: Responses = {200: {"description": "The metrics.", "content": {"text/plain": {}}}}


def _refusals() -> Responses:
    """Document every refusal of the tree, by status: its codes and their titles."""
    by_status: dict[int | str, list[type[errors.Refusal]]] = {}
    for refusal in errors.refusals():
        by_status.setdefault(refusal.status, []).append(refusal)
    return {
        status: {
            "description": " · ".join(f"`{each.code}` {each.__doc__}" for each in found),
            "content": {
                "application/problem+json": _shown(*(each.code for each in found))
                | {"schema": {"$ref": _AT.format(model="Problem")}}
            },
        }
        for status, found in sorted(by_status.items(), key=lambda item: str(item[0]))
    }


def _problem(refusal: type[errors.Refusal]) -> dict[str, object]:
    return {
        "type": f"https://darkroom.example.com/errors#{refusal.code}",
        "title": refusal.__doc__,
        "status": refusal.status,
        "detail": "…",
        "instance": "/v1/jobs",
        "code": refusal.code,
        "retryable": refusal.retryable,
        "request_id": "req_…",
        "errors": [],
    }


REFUSALS = _refusals()
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
            examples.ALL | {each.code: _problem(each) for each in errors.refusals()}
        ).items()
    },
}
"""What all of these refer to, and FastAPI does not know."""


def complete(described: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Add to a description what FastAPI cannot say; a refusal is said once, and routes refer to it.

    `schemas` are those that only bodies refer to which FastAPI does not read.
    """
    components = described["components"]
    components["schemas"].update(schemas)
    for kind, named in COMPONENTS.items():
        components.setdefault(kind, {}).update(named)
    components["headers"] = {
        name: {"description": told, "schema": {"type": "string"}} for name, told in _HEADERS.items()
    }
    shared = components["responses"] = {
        _named(status): _with_headers(said, ["Retry-After"] if status in _ASK_LATER else [])
        for status, said in ((str(status), said) for status, said in REFUSALS.items())
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


# What the busiest routes read themselves: as parameters FastAPI would look at their types again for each of
# thousands of requests.
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
