"""Values that no query and no path means: refused, or found by nobody; none reaches Postgres unjudged."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.integration.api.client import Api
from tests.integration.api.contract import (
    ROW,
    Operation,
    one_of_each,
    operations,
    operator_operations,
)

ODD = [
    "%00", "a%00", "%ED%A0%80", "%FF", "9" * 9, "9" * 16, "9" * 25, "-1", "%F0%9F%A6%96" * 40,
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "AAAAAAAAAAAAAAAAAAAAAA", "..%2f..", "%2f",
]  # fmt: skip
GETS = [each for each in operations() if each.method == "GET"]
OPERATORS = [each for each in operator_operations() if each.method == "GET"]


def asked(operation: Operation, things: dict[str, str]) -> Iterator[str]:
    """List the path of an operation with each odd value in each place of it."""
    where = operation.path
    for name, prefix in operation.of.items():
        where = where.replace(f"{{{name}}}", things.get(prefix, prefix))
    free = re.findall(r"{(\w+)}", where)
    usual = {"n": "0", "kind": "png", "custom_id": ROW, "model": "a/b"}
    plain = where.format_map(usual)
    for value in ODD:
        for name in free:
            yield where.format_map(usual | {name: value})
        for name in operation.query:
            key = "metadata[a]" if name == "metadata" else name
            yield f"{plain}?{quote(key)}={value}"


@pytest.fixture(scope="module")
async def things(shared: Api) -> dict[str, str]:
    return await one_of_each(shared)


@pytest.mark.parametrize("operation", GETS + OPERATORS, ids=str)
async def test_no_odd_value_is_a_bug(
    shared: Api, things: dict[str, str], operation: Operation
) -> None:
    headers = await shared.operator() if operation in OPERATORS else {}
    for path in asked(operation, things):
        answer = await shared.client.get(path, headers=headers)
        assert answer.status_code < 500, (path, answer.text)
