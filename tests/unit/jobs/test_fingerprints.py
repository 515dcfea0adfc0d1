import json
from hashlib import sha256

import pytest

from models.jobs import fingerprint

LONG = "data:image/png;base64," + "A" * 70_000


@pytest.mark.parametrize(
    "urls",
    [
        [],
        [LONG],
        ["https://example.com/a.png", LONG, LONG[:-4] + "BBBB", LONG],
        [LONG + "é"],
        [LONG + '"'],
        [LONG + "\\"],
        [LONG + "\n"],
        [LONG + "\0"],
        [LONG, 7, None],
    ],
)
def test_a_body_has_the_hash_of_its_json_however_large_its_references_are(
    urls: list[object],
) -> None:
    body = {"tags": ["b"], "input": {"prompt": "ü", "model": "m", "image_urls": urls}, "a": 1}
    written = json.dumps(body, sort_keys=True, separators=(",", ":"))
    assert fingerprint(body) == sha256(written.encode()).digest()


@pytest.mark.parametrize("body", [None, [], {"input": LONG}, {"input": {"image_urls": LONG}}])
def test_a_body_of_another_shape_has_the_hash_of_its_json(body: object) -> None:
    written = json.dumps(body, sort_keys=True, separators=(",", ":"))
    assert fingerprint(body) == sha256(written.encode()).digest()
