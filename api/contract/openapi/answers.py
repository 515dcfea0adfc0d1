"""What OpenAPI says of each answer: its shape, and an example that people can read."""

from typing import Any

from api.contract import shapes
from api.contract.openapi import examples

Responses = dict[int | str, dict[str, Any]]


def answer(shape: object, description: str, example: str = "", status: int = 200) -> Responses:
    """Return the description of an answer; FastAPI takes its schema from `model`."""
    content = {"application/json": shown(example)} if example else {}
    return {status: {"model": shape, "description": description, "content": content}}


def shown(*examples_: str) -> dict[str, Any]:
    """Refer to examples: FastAPI would leave out what is null in them."""
    named = {name: {"$ref": f"#/components/examples/{name}"} for name in examples_}
    return {"examples": named}


JOB = answer(shapes.Job, "The job as it is now.", "Job")
POLLED: Responses = JOB | {304: {"description": "The caller's ETag still stands."}}
_SURVIVES, _WAITED_FOR = (
    "Accepted: the job survives whatever dies from here on.",
    "Accepted, waited for, and finished.",
)
ACCEPTED = answer(shapes.Job, _SURVIVES, "AcceptedJob", status=202) | answer(
    shapes.Job, _WAITED_FOR, "Job"
)
SUBMITTED = answer(
    shapes.Submitted, f"{_SURVIVES} With `n`: the group.", "AcceptedJob", status=202
) | answer(shapes.Submitted, f"{_WAITED_FOR} With `n`: the group.", "Job")
JOBS = answer(
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
EXPLANATION = answer(
    shapes.Explanation,
    "What binds the job now. `binding` is empty unless it waits.",
    "Explanation",
)
ACTION = answer(shapes.Action, "The action as it is now.", "Action")
ACTIONS = answer(shapes.ActionPage, "A page, newest first.", "ActionPage")
ACTION_ASKED = answer(
    shapes.ActionPreview, "With `dry_run`: what it would do.", "ActionPreview"
) | answer(shapes.Action, "Accepted: it goes on by itself.", "Action", status=202)
ERASURE = answer(shapes.Erasure, "The erasure as it stands.", "Erasure")
ERASURES = answer(shapes.ErasurePage, "A page, newest first.", "ErasurePage")
ERASURE_ASKED = answer(shapes.Erasure, "Accepted: it goes on by itself.", "Erasure", status=202)
_FILE_THERE = "The project had these bytes: their file, kept for longer."
FILE_MADE = answer(shapes.File, "The file.", status=201) | answer(shapes.File, _FILE_THERE)
FILE = answer(shapes.File, "The file.")
FILES = answer(shapes.FilePage, "A page, newest first.")
FILE_DELETED = answer(shapes.FileDeleted, "It is deleted; jobs that draw from it go on.")
ENDPOINT = answer(shapes.Endpoint, "The endpoint as it is now.", "Endpoint")
ENDPOINTS = answer(shapes.EndpointList, "All of them, newest first.")
ENDPOINT_HEALTH = answer(
    shapes.EndpointHealth, "How its tries went, in all and hour by hour.", "EndpointHealth"
)
ENDPOINT_MADE = answer(
    shapes.EndpointWithSecret,
    "The endpoint, and its secret, this once.",
    "EndpointMade",
    status=201,
)
ENDPOINT_ROTATED = answer(
    shapes.EndpointWithSecret, "The endpoint, and its fresh secret, this once.", "EndpointRotated"
)
SECRET = answer(shapes.Secret, "The secret.")
SECRET_ROTATED = answer(shapes.RotatedSecret, "The fresh secret.")
DELIVERY = answer(shapes.Delivery, "The delivery as it is now.", "Delivery")
DELIVERIES = answer(shapes.DeliveryPage, "A page, newest first.", "DeliveryPage")
REDELIVERED = answer(
    shapes.Delivery,
    "It is due now; `tries` keeps what was met before.",
    "Delivery",
    status=202,
)
TESTED = answer(
    shapes.TestDelivery,
    "What became of the ping; `message` says it in a sentence.",
    "TestDelivery",
)
REPLAYED = answer(
    shapes.Replay, "How many are due again now, and the cursor to go on with.", "Replay"
)
KEY = answer(shapes.ApiKey, "The key as it is now.", "ApiKey")
KEYS = answer(shapes.ApiKeyList, "All of them, newest first.")
KEY_MADE = answer(
    shapes.ApiKeyWithSecret,
    "The key, whole, this once.",
    "ApiKeyMade",
    status=201,
)
BUDGET = answer(shapes.Budget, "The budget, and where it stands now.", "Budget")
BUDGETS = answer(shapes.BudgetList, "All of them, oldest first.")
NOW = answer(shapes.Now, "How things stand.")
USAGE = answer(shapes.UsageReport, "The report.", "UsageReport")
LEDGER = answer(shapes.LedgerPage, "A page; or with `Accept: text/csv` all of it.", "LedgerPage")
LEDGER[200]["content"]["text/csv"] = {"example": ",".join(examples.LINE)}
QUOTE = answer(shapes.Quote, "The quote.", "Quote")
MODEL = answer(shapes.Model, "The model.")
MODELS = answer(shapes.ModelList, "All that can be called.")
BYTES: Responses = {
    200: {"description": "The bytes.", "content": {"image/*": {}}},
    206: {"description": "The part that was asked for.", "content": {"image/*": {}}},
    304: {"description": "The caller has these bytes."},
    416: {"description": "No such part."},
}
SHARED = answer(shapes.SharedImage, "The link, and until when it works.", "SharedImage")
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
BATCH = answer(shapes.Batch, "The batch, or the group, as it is now.")
BATCHES = answer(shapes.BatchPage, "A page, newest first.")
BATCH_TAKEN = answer(
    shapes.TakenBatch, "Accepted: every row of it survives whatever dies from here on.", status=202
) | answer(shapes.BatchQuote, "With `dry_run`: what it would be.")
BATCH_MADE = answer(shapes.TakenBatch, "Accepted: a new batch.", status=202)
BATCH_ITEMS = answer(shapes.BatchItems, "A page, in the order in which they came.")
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
HEALTHY = answer(shapes.Health, "It lives.", "Healthy")
READY = answer(shapes.Health, "Send it requests.", "Healthy") | answer(
    shapes.Health,
    "Send it no requests.",
    "Draining",
    status=503,
)
METRICS: Responses = {200: {"description": "The metrics.", "content": {"text/plain": {}}}}
