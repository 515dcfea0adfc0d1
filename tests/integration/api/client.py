"""What a test of the HTTP contract has in its hands."""

import json
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from api.dependencies.state import State
from models import ids
from models.accounts import api_keys, operators
from models.money.dollars import usd
from models.states import ProjectScope
from tests.conftest import make_project
from tests.integration.api.life import Life

MODEL = "bytedance/seedream-5-0-lite-preview"
PRICE = 91_000
Body = dict[str, object]


@dataclass(frozen=True)
class Api:
    """A served application: its address, a key of every scope, and what moves its jobs."""

    url: str
    key: str
    client: httpx.AsyncClient
    state: State
    life: Life

    async def submit(self, **fields: object) -> UUID:
        """Submit a job over HTTP, and return its id."""
        answer = await self.client.post("/v1/jobs", json=body(**fields))
        assert answer.status_code == 202, answer.text
        return job_id(answer.json()["id"])

    async def job(self, job: UUID) -> Body:
        """Read a job over HTTP."""
        answer = await self.client.get(path(job))
        assert answer.status_code == 200, answer.text
        shown: Body = answer.json()
        return shown

    async def key_with(self, *scopes: ProjectScope) -> dict[str, str]:
        """Make a key of the first project with just these scopes; returns the header it goes in."""
        key = api_keys.new_key()
        async with self.life.database.transaction() as tx:
            await api_keys.create_key(tx, self.life.caller.project_id, "narrow", scopes, key)
        return bearer(key)

    async def operator(self) -> dict[str, str]:
        """Make an operator's key; returns the header it goes in."""
        key = api_keys.new_key()
        async with self.life.database.transaction() as tx:
            await operators.create_key(tx, "night shift", key)
        return bearer(key)

    async def another_project(self, name: str = "other") -> dict[str, str]:
        """Make another project; returns the header of its key, which has every scope."""
        return bearer((await make_project(self.life.database, self.state.vault, name))[1])


def body(**fields: object) -> Body:
    """Make the smallest body that is accepted, with these fields beside it or in its place."""
    return {"input": input_()} | fields


def input_(**fields: object) -> Body:
    """Make the smallest input that is accepted, with these fields beside it or in its place."""
    return {"model": MODEL, "prompt": "A lighthouse in the snow."} | fields


def cost(until: object = None, **credits_: int) -> Body:
    """Write what a job costs as it is shown; what is not named is 0, and known."""
    named = {"estimated": 0, "charged": 0, "adjusted": 0, "unknown": 0, "held": 0} | credits_
    in_usd = {name: usd(each) for name, each in named.items()}
    return named | {"unit": "credits", "usd": in_usd, "unknown_until": until}


def unknown_until(shown: Body) -> str:
    """Read by when a job's lost call is known."""
    until = cast("dict[str, object]", shown["cost"])["unknown_until"]
    assert isinstance(until, str)
    return until


def bearer(key: str) -> dict[str, str]:
    """Write the header that a key goes in."""
    return {"authorization": f"Bearer {key}"}


def path(job: UUID, rest: str = "") -> str:
    """Write the path of a job."""
    return f"/v1/jobs/{ids.text(ids.JOB, job)}{rest}"


def job_id(written: object) -> UUID:
    """Read a job's id as the API wrote it."""
    found = ids.parse(ids.JOB, str(written))
    assert found is not None
    return found


def problem(answer: httpx.Response, status: int, code: str) -> Body:
    """Demand that an answer is this refusal, in the form of RFC 9457; returns its body."""
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), answer.text
    said: Body = json.loads(answer.text)
    assert said["code"] == code, said
    assert said["status"] == status
    assert urlsplit(str(said["type"])).path.endswith("/errors")
    assert urlsplit(str(said["type"])).fragment == code
    assert said["instance"] == answer.request.url.path
    assert said["request_id"] == answer.headers["x-request-id"]
    assert said["title"]
    assert said["detail"]
    assert isinstance(said["retryable"], bool)
    return said


def pointers(answer: httpx.Response) -> list[str]:
    """Return the pointers of the fields that a refusal names."""
    return [each["pointer"] for each in answer.json()["errors"]]
