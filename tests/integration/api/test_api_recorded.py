"""What Open WebUI, LibreChat and n8n send, and what they read: written after their sources, 2026-11.

None of them can be installed here; what no source showed (edits, n8n's options) follows their documents.
Each reads one place of the answer and fails where it is empty.
"""

import asyncio
import base64
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.fixtures.drawing import draw
from tests.integration.api.client import Api
from tests.integration.api.life import PICTURE
from tests.integration.api.test_api_generations import ended, queued

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
PNG = draw("PNG", (64, 64))


@dataclass(frozen=True)
class Recorded:
    """A request as a program sends it, and the one field of an image that it reads."""

    path: str
    how: dict[str, Any]
    reads: str

    async def send(self, api: Api) -> httpx.Response:
        """Send it."""
        return await api.client.post(self.path, **self.how)


_WEBUI = {"model": "dall-e-3", "prompt": "a bicycle", "n": 1, "size": "512x512"}
_LIBRE = {
    "model": "gpt-image-1", "prompt": "a bicycle", "n": 1, "background": "auto",
    "output_format": "jpeg", "output_compression": 100, "quality": "auto", "size": "auto",
}  # fmt: skip
_N8N = {"prompt": "a bicycle", "model": "dall-e-3", "quality": "hd", "size": "1024x1024",
        "style": "vivid"}  # fmt: skip
RECORDED = {
    # routers/images.py: `url` where there is one, with the key beside the signature, else `b64_json`.
    "Open WebUI": Recorded(
        GENERATIONS, {"json": _WEBUI | {"response_format": "b64_json"}}, "b64_json"
    ),
    "Open WebUI, gpt-image": Recorded(
        GENERATIONS, {"json": _WEBUI | {"model": "gpt-image-1"}}, "b64_json"
    ),
    "Open WebUI, edits": Recorded(
        EDITS,
        {"data": {"model": "gpt-image-1", "prompt": "a bicycle", "n": "1", "size": "1024x1024"},
         "files": [("image[]", ("image.png", PNG, "image/png"))]},
        "b64_json",
    ),
    # tools/structured/OpenAIImageTools.js: `b64_json` alone, which it does not ask for.
    "LibreChat": Recorded(GENERATIONS, {"json": _LIBRE}, "b64_json"),
    "LibreChat, edits": Recorded(
        EDITS,
        {"data": {"model": "gpt-image-1", "prompt": "a bicycle", "quality": "auto", "size": "auto"},
         "files": [("image[]", (name, PNG, "image/png")) for name in ("a.png", "b.png")]},
        "b64_json",
    ),
    # tools/structured/DALLE3.js
    "LibreChat, DALL-E": Recorded(GENERATIONS, {"json": _N8N | {"n": 1}}, "url"),
    # nodes/vendors/OpenAi/actions/image/generate.operation.ts
    "n8n": Recorded(GENERATIONS, {"json": _N8N | {"response_format": "b64_json"}}, "b64_json"),
    "n8n, URLs": Recorded(GENERATIONS, {"json": _N8N | {"response_format": "url"}}, "url"),
}  # fmt: skip


@pytest.mark.parametrize("recorded", RECORDED.values(), ids=RECORDED)
async def test_a_recorded_request_is_answered_where_its_sender_looks(
    api: Api, recorded: Recorded
) -> None:
    call = asyncio.create_task(recorded.send(api))
    (job,) = await queued(api, 1, call)
    await ended(api, api.life.succeed(job), job)
    answer = await call
    assert answer.status_code == 200, answer.text
    (image,) = answer.json()["data"]
    if recorded.reads == "b64_json":
        assert base64.b64decode(image["b64_json"], validate=True) == PICTURE
        assert "url" not in image
        return
    shown = await api.client.get(
        httpx.URL(image["url"]).raw_path.decode(), headers={"authorization": "Bearer another"}
    )
    assert (shown.status_code, shown.content) == (200, PICTURE)
