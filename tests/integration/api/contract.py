"""Every route there is, read from the OpenAPI: what it asks for, and requests that it takes.

A new route is in these tests by itself. Only a new noun must be made by hand, in `one_of_each`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from api.openapi import describe
from models import ids
from models.jobs import batches
from tests.fixtures.drawing import draw
from tests.integration.api.client import MODEL, Api, Body, input_, path

OPEN = {"/healthz", "/readyz", "/metrics"}
PAGES = {"/", "/docs", "/docs/swagger-ui.css", "/favicon.ico", "/openapi.json"}
ROW = "r1"  # the custom_id of the one row of the one batch
IMPATIENT = {"x-stainless-read-timeout": "0.2"}  # nobody makes the image that it would wait for
# What a query calls the things whose ids it takes.
NAMED = {"job": ids.JOB, "batch": ids.BATCH, "key": ids.KEY, "project": ids.PROJECT}

# Where the smallest body of the schema is refused: of a picture's many names in it, one must be there.
TAKEN = {"/v1/images/edits": input_(image_urls=["https://example.com/a.png"])}

PICTURE = draw("png", (20, 20))
FORM = "a form with this picture"

Schema = dict[str, Any]  # of JSON

_DESCRIBED = json.loads(describe())
PREFIX = re.compile(r"`([a-z]+)_…`")


@dataclass(frozen=True)
class Operation:
    """One route: the scope it documents, its ids by the name in its path, its query, a body it takes."""

    method: str
    path: str
    scope: str
    also: frozenset[str]  # scopes that will do as well
    of: Mapping[str, str]
    query: frozenset[str]
    body: object

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def invalid(self, status: int) -> int:
        """Return the status of what is invalid here: clients of OpenAI's shape know no 422."""
        spoken = self.path.startswith(("/v1/images", "/v1/models", "/v1/files"))
        return 400 if spoken and status == 422 else status

    def as_head(self) -> "Operation":
        """Ask about the answer alone."""
        return replace(self, method="HEAD")

    def with_slash(self) -> "Operation":
        """Ask under a path that is one slash too long."""
        return replace(self, path=f"{self.path}/")

    async def ask(
        self,
        client: httpx.AsyncClient,
        things: Mapping[str, str],
        headers: Mapping[str, str],
        content: bytes | str | None = None,
        **query: str | list[str],
    ) -> httpx.Response:
        """Ask for these things; for what nobody has, where one is missing. `content` is another body."""
        where = self.path.replace("{n}", "0").replace("{kind}", "png")
        where = where.replace("{model}", MODEL).replace("{custom_id}", ROW)
        for name, prefix in self.of.items():
            where = where.replace(f"{{{name}}}", things.get(prefix) or nobodys(prefix))
        sent: dict[str, Any] = {"json": self.body} if content is None else {"content": content}
        if self.body is FORM and content is None:
            sent = {"files": {"file": ("a.png", PICTURE)}}
        given = {**IMPATIENT, **headers} if where.startswith("/v1/images") else headers
        return await client.request(self.method, where, headers=given, params=query, **sent)


def operations() -> list[Operation]:
    """List every route that needs a key of a project."""
    return [each for each in _operations() if each.scope != "operator"]


def operator_operations() -> list[Operation]:
    """List every route that needs an operator's key."""
    return [each for each in _operations() if each.scope == "operator"]


def nobodys(prefix: str) -> str:
    """Make an id of a thing that is not there."""
    return ids.text(prefix, ids.new())


async def one_of_each(api: Api) -> dict[str, str]:
    """Make something of each noun in the first project; returns their ids by prefix."""
    hook = await api.client.post("/v1/webhooks", json={"url": "https://example.com/hook"})
    job = await api.submit()
    await api.life.succeed(job)
    told = await api.client.get(path(job, "/deliveries"))
    key = await api.client.post("/v1/keys", json={"name": "k", "scopes": ["jobs:read"]})
    rule: Body = {"scope": "project", "window": "day", "limit": 10**12, "mode": "hard"}
    budget = await api.client.put("/v1/budgets", json=rule)
    chosen = {"tag": "a tag that no job has"}
    action = await api.client.post("/v1/jobs/actions", json={"action": "cancel", "filter": chosen})
    erasure = await api.client.post("/v1/erasures", json={"customer": "nobody"})
    file = await api.client.post("/v1/files", files={"file": ("a.png", PICTURE)})
    row = {"custom_id": ROW, "input": input_()}
    batch = await api.client.post("/v1/batches", json={"items": [row]})
    made = ids.parse(ids.BATCH, batch.json()["id"])
    assert made is not None
    await api.client.post(f"/v1/batches/{batch.json()['id']}/cancel")
    async with api.life.database.transaction() as tx:  # over, so that its stream ends
        await batches.advance(tx, api.life.presenter, made)
    return {
        ids.BATCH: batch.json()["id"],
        ids.FILE: file.json()["id"],
        ids.ERASURE: erasure.json()["id"],
        ids.ACTION: action.json()["id"],
        ids.JOB: ids.text(ids.JOB, job),
        ids.ENDPOINT: hook.json()["id"],
        ids.DELIVERY: told.json()["data"][0]["id"],
        ids.KEY: key.json()["id"],
        ids.BUDGET: budget.json()["id"],
    }


def _operations() -> Iterator[Operation]:
    for where, methods in _DESCRIBED["paths"].items():
        for method, said in methods.items():
            if where not in OPEN:
                scope, *also = (scope for each in said["security"] for (scope,) in each.values())
                parameters = said.get("parameters", [])
                yield Operation(
                    method=method.upper(),
                    path=where,
                    scope=scope,
                    also=frozenset(also),
                    of=_ids(where, parameters),
                    query=frozenset(each["name"] for each in parameters if each["in"] == "query"),
                    body=TAKEN.get(where) or _body(said.get("requestBody")),
                )


def _ids(where: str, parameters: Sequence[Mapping[str, str]]) -> dict[str, str]:
    found = {
        each["name"]: prefix[1]
        for each in parameters
        if each["in"] == "path" and (prefix := PREFIX.search(each.get("description", "")))
    }
    unknown = set(re.findall(r"{(\w+)}", where)) - set(found) - {"n", "kind", "model", "custom_id"}
    assert not unknown, f"{where}: describe {unknown} by the prefix of its ids, as `job_…`"
    return found


def _body(taken: "Mapping[str, Mapping[str, Mapping[str, Schema]]] | None") -> object:
    """Make the smallest body that a schema tells to be valid, or take its example."""
    if taken is None:
        return None
    # A URL in the place of a picture would be waited for: nobody fetches it.
    if "multipart/form-data" in taken["content"]:
        return FORM
    return _smallest(taken["content"]["application/json"]["schema"])


def _smallest(schema: Schema) -> object:
    if reference := schema.get("$ref"):
        named = str(reference).rpartition("/")[2]
        return _smallest(_DESCRIBED["components"]["schemas"][named])
    smallest: object = "https://example.com/hook"  # where nothing tells more of a text
    match schema:
        case {"examples": [first, *_]} | {"enum": [first, *_]} | {"default": first}:
            smallest = first
        case {"anyOf": [first, *_]}:
            smallest = _smallest(first)
        case {"type": "object", "properties": fields}:
            needed = schema.get("required", list(fields)[: schema.get("minProperties", 0)])
            smallest = {name: _smallest(fields[name]) for name in needed}
        case {"type": "array", "items": each}:
            smallest = [_smallest(each)]
        case {"type": "integer" | "number"}:
            # The most: a limit of nothing would be in the way of what is asked next.
            smallest = int(schema.get("maximum", 1))
    return smallest
