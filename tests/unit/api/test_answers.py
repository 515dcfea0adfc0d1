"""JSON as it is answered: what Python's own `json` would write, byte by byte."""

import json

import pytest
from starlette.responses import JSONResponse

from api.contract.formats.answers import JsonAnswer

SHOWN: list[object] = [
    {"prompt": 'a café, "quoted" \\ / \u2028 \u0000\u001f 🦖', "tags": [], "customer": None},
    {"credits": 91_000, "much": (1 << 80), "less": -(1 << 70), "yes": True, "no": False},
    [{"data": [{"url": "https://x.example/?a=1&b=<>"}]}, "", [], {}],
    {"share": 0.25, "few": 1e-3, "many": 1e15},
]


@pytest.mark.parametrize("shown", SHOWN)
def test_it_is_written_as_ever(shown: object) -> None:
    written = bytes(JsonAnswer(shown).body)
    assert written == JSONResponse(shown).body
    assert json.loads(written) == shown


def test_half_a_surrogate_pair_is_no_answer() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        JsonAnswer({"prompt": "\ud800"})
