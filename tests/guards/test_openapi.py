"""The description of the API is committed, so that a change of the contract is seen in review."""

import json
from pathlib import Path
from typing import TypedDict, get_args

from jsonschema import Draft202012Validator

from api.openapi import describe
from models.states import EventType

COMMITTED = Path(__file__).with_name("openapi.json")
OPEN = {"/healthz", "/readyz", "/metrics"}


class Content(TypedDict, total=False):
    schema: dict[str, str]
    examples: dict[str, dict[str, str]]


Said = TypedDict(
    "Said",
    {"description": str, "content": dict[str, Content], "headers": dict[str, object], "$ref": str},
    total=False,
)


class Operation(TypedDict, total=False):
    summary: str
    description: str
    operationId: str
    security: list[object]
    requestBody: dict[str, dict[str, dict[str, dict[str, str]]]]
    responses: dict[str, Said]


DESCRIBED = json.loads(describe())
EXAMPLES = DESCRIBED["components"]["examples"]
SHARED = DESCRIBED["components"]["responses"]


def resolved(operation: Operation) -> Operation:
    """Return an operation with the shared answers that it refers to."""
    answers = {
        status: SHARED[said["$ref"].rpartition("/")[2]] if "$ref" in said else said
        for status, said in operation["responses"].items()
    }
    return {**operation, "responses": answers}


OPERATIONS = {
    (method.upper(), path): resolved(operation)
    for path, methods in DESCRIBED["paths"].items()
    for method, operation in methods.items()
}


def test_the_description_is_the_committed_one() -> None:
    renew = "if this change is meant: python -m api.openapi > tests/guards/openapi.json"
    assert describe() == COMMITTED.read_text(), renew


def test_the_description_is_openapi_3_1_with_schemas_that_are_schemas() -> None:
    assert DESCRIBED["openapi"].startswith("3.1")
    for schema in DESCRIBED["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_operation_says_what_it_does_under_a_name_of_its_own() -> None:
    assert [each for each, said in OPERATIONS.items() if not said.get("description")] == []
    names = [each["operationId"] for each in OPERATIONS.values()]
    assert len(names) == len(set(names))


def test_every_operation_but_health_shows_the_padlock_and_its_refusals() -> None:
    for (method, path), said in OPERATIONS.items():
        if path in OPEN:
            continue
        assert said.get("security"), (method, path)
        assert {"401", "403", "404", "422", "503"} <= set(said["responses"]), (method, path)
        for status, answer in said["responses"].items():
            if int(status) >= 400 and status != "416":
                assert set(answer["content"]) == {"application/problem+json"}, (path, status)
                assert answer["content"]["application/problem+json"]["examples"], (path, status)


def test_every_answer_names_its_headers_and_no_refusal_is_described_twice() -> None:
    for (method, path), said in OPERATIONS.items():
        for status, answer in said["responses"].items():
            assert "X-Request-Id" in answer["headers"], (method, path, status)
    written = [
        (path, status)
        for path, methods in DESCRIBED["paths"].items()
        for operation in methods.values()
        for status, said in operation["responses"].items()
        if "application/problem+json" in said.get("content", {})
    ]
    assert written == []


def test_every_answer_has_its_schema_and_every_example_fits_it() -> None:
    shown: set[str] = set()
    for operation, said in OPERATIONS.items():
        for status, answer in said["responses"].items():
            for type_, told in answer.get("content", {}).items():
                if type_ not in {"application/json", "application/problem+json"}:
                    continue
                assert set(told["schema"]) == {"$ref"}, (operation, status)
                fits = Draft202012Validator({**DESCRIBED, **told["schema"]})
                for name, each in told.get("examples", {}).items():
                    assert each == {"$ref": f"#/components/examples/{name}"}
                    fits.validate(EXAMPLES[name]["value"])
                    shown.add(name)
    assert shown == set(EXAMPLES)


def test_every_event_that_there_is_is_a_webhook() -> None:
    assert set(DESCRIBED["webhooks"]) == set(get_args(EventType))


def test_the_examples_of_a_submission_are_submissions() -> None:
    body = OPERATIONS["POST", "/v1/jobs"]["requestBody"]["content"]["application/json"]["schema"]
    schema = {**DESCRIBED, "$ref": body["$ref"]}
    (example,) = DESCRIBED["components"]["schemas"]["SubmitBody"]["examples"]
    Draft202012Validator(schema).validate(example)
