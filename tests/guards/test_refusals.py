"""A refusal is a class: its code, its status, its docstring; and OpenAPI shows every one."""

import inspect
import json
import re

import pytest

from api.openapi import describe
from models import errors
from models.errors import Refusal

WRITTEN = re.compile(r"[─ ]([A-Z]\w+) +(\d{3}) (\w+)$", re.MULTILINE)


REFUSALS = list(errors.refusals())


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.__name__)
def test_a_refusal_says_its_code_its_status_and_what_it_means(refusal: type[Refusal]) -> None:
    own = vars(refusal)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", own["code"])
    assert 400 <= own["status"] < 600
    title = inspect.getdoc(refusal)
    assert title is not None
    assert title.endswith(".")
    assert "\n" not in title


def test_a_code_means_one_thing() -> None:
    codes = [each.code for each in REFUSALS]
    assert len(codes) == len(set(codes))


def test_whatever_may_be_tried_again_says_so() -> None:
    again = {each.code for each in REFUSALS if each.retryable}
    assert again == {
        "not_finished", "request_timeout", "rate_limited", "queue_full", "unavailable",
        "still_running",
    }  # fmt: skip


def test_the_tree_on_the_first_page_is_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn = {(name, int(status), code) for name, status, code in WRITTEN.findall(errors.__doc__)}
    assert drawn == {(each.__name__, each.status, each.code) for each in REFUSALS}


def test_openapi_shows_every_code_on_every_route_with_a_key() -> None:
    described = json.loads(describe())
    shared = described["components"]["responses"]
    for path, methods in described["paths"].items():
        if not path.startswith("/v1/"):
            continue
        for method, operation in methods.items():
            told = {
                (code, int(status))
                for status, answer in operation["responses"].items()
                for code in re.findall(
                    r"`(\w+)`",
                    shared[answer["$ref"].rpartition("/")[2]]["description"]
                    if "$ref" in answer
                    else answer["description"],
                )
            }
            missing = {(each.code, each.status) for each in REFUSALS} - told
            assert missing == set(), (method, path)
