"""Requests that nobody thought of, drawn from the OpenAPI: no answer is a 5xx, and each is documented.

`--examples` asks for more of each operation, right and wrong; `--seed` for others.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from itertools import product
from random import Random
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.openapi import describe
from tests.integration.api.client import Api, bearer
from tests.integration.api.contract import IMPATIENT, OPEN, PREFIX, one_of_each

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

AnyCase = Case[Any]  # of JSON
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(json.loads(describe()))
# The key is good; others test bad ones.
SCHEMA.config.generation.update(with_security_parameters=False)
OPERATIONS = sorted(
    (each.ok() for each in SCHEMA.get_all_operations() if isinstance(each, Ok)),
    key=lambda each: "budgets" in each.path,  # last: a limit of nothing would refuse every job
)


@pytest.mark.timeout(3600)  # as long as it was asked for
async def test_no_request_breaks_the_api_or_the_contract(
    shared: Api, request: pytest.FixtureRequest
) -> None:
    examples, number = (request.config.getoption(each) for each in ("--examples", "--seed"))
    things, asked = await one_of_each(shared), Counter[str]()
    operator = await shared.operator()
    ask = asker(shared, things, operator, asked, Random(number))  # noqa: S311 - not a secret
    found = []
    for operation, mode in product(OPERATIONS, GenerationMode):
        explore = seed(number)(bounded(examples)(given(case=operation.as_strategy(mode))(ask)))
        try:
            await asyncio.to_thread(explore)
        except Unsatisfiable:
            continue  # nothing wrong can be asked of what has no parameter
        except FailureGroup as broken:
            found.append(f"{operation.label}, {mode.value}: {broken.exceptions}")
    print(f"{asked.total()} examples of {len(OPERATIONS)} operations: {dict(asked)}")  # noqa: T201 - the figure of a long run
    assert not found, "\n\n".join(found)
    assert asked.total() > len(OPERATIONS)


def asker(
    api: Api,
    things: Mapping[str, str],
    operator: Mapping[str, str],
    asked: Counter[str],
    random: Random,
) -> Callable[[AnyCase], None]:
    """Make what asks the API for one case and checks its answer; counts answers by status."""

    def ask(case: AnyCase) -> None:
        prefix = PREFIX.search(str(case.operation.definition.raw))
        # A project is for operators alone, and stays as it is.
        there = prefix and things.get(prefix[1])
        if there and "id" in case.path_parameters and random.random() < 0.5:
            case.path_parameters["id"] = there
        if str(case.query.get("wait", "")).isdigit():
            case.query["wait"] = 0  # nothing will happen here that it could wait for
        operated = case.operation.path.startswith("/v1/operator/")
        key = {} if case.operation.path in OPEN else operator if operated else bearer(api.key)
        answer = case.call(base_url=api.url, headers={**key, **IMPATIENT})
        asked[str(answer.status_code)] += 1
        # A synchronous call waits for an image that nobody makes here.
        fine = answer.status_code == HTTPStatus.GATEWAY_TIMEOUT and "images" in case.operation.path
        case.validate_response(answer, checks=CHECKS[1:] if fine else CHECKS)

    return ask


def bounded(examples: int) -> settings:
    """Say how long to look: so many examples, and the smallest that fails is looked for."""
    return settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
