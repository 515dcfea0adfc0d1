"""Every answer and every event is what OpenAPI says it is: nothing missing, and nothing more."""

import json
import re
from collections.abc import Mapping
from http import HTTPMethod

import httpx
from jsonschema_rs import Draft202012Validator
from sqlalchemy import text

from api.openapi import describe
from models.platform.db import Database
from models.platform.jsonable import Json

_JSON = {"application/json", "application/problem+json"}
_ALWAYS = {"X-Request-Id", "ETag", "Location"}  # what is documented must come; the others may


def _is_moment(given: str) -> bool:
    """Times are UTC, to the millisecond."""
    return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", given) is not None


class Broken(AssertionError):
    """An answer that OpenAPI does not tell of; what is missing there or here stands in the message."""


class Promises:
    """The description of the API, closed: where it lists the fields of an object, there are no others."""

    def __init__(self) -> None:
        described = json.loads(describe())
        for schema in described["components"]["schemas"].values():
            schema.setdefault("additionalProperties", False)
        self._described = described
        self._operations = [
            (re.compile(re.sub(r"{\w+}", "[^/]+", path)), method.upper(), said["responses"])
            for path, methods in described["paths"].items()
            for method, said in methods.items()
        ]
        self._validators: dict[str, Draft202012Validator] = {}

    async def keep(self, answer: httpx.Response) -> None:
        """Demand that an answer is documented: an event hook of httpx. Raises `Broken`."""
        request = answer.request
        for path, method, responses in self._operations:
            if path.fullmatch(request.url.path) and method == request.method != HTTPMethod.HEAD:
                await self._judge(answer, responses)
                return

    async def keep_events(self, database: Database) -> None:
        """Demand that whatever webhooks were to tell is documented. Raises `Broken`."""
        async with database.transaction() as tx:
            told = (await tx.execute(text("SELECT type, body FROM events"))).all()
        for type_, body in told:
            self.keep_event(type_, body)

    def keep_event(self, type_: str, body: bytes) -> None:
        """Demand that the body of a webhook is documented. Raises `Broken`."""
        told = self._described["webhooks"][type_]["post"]["requestBody"]["content"]
        self._validate(told["application/json"]["schema"], json.loads(body), f"event {type_}")

    async def _judge(self, answer: httpx.Response, responses: Mapping[str, Json]) -> None:
        what = f"{answer.request.method} {answer.request.url.path} {answer.status_code}"
        said = responses.get(str(answer.status_code))
        if said is None:
            raise Broken(f"{what}: OpenAPI has no such status")
        if "$ref" in said:
            shared = self._described["components"]["responses"]
            said = shared[str(said["$ref"]).rpartition("/")[2]]
        headers = said.get("headers", {})
        assert isinstance(headers, dict)
        for name in headers.keys() & _ALWAYS:
            if name not in answer.headers:
                raise Broken(f"{what}: it has no header {name}")
        type_ = answer.headers.get("content-type", "").partition(";")[0]
        content = said.get("content", {})
        assert isinstance(content, dict)
        if type_ in _JSON:
            if type_ not in content:
                raise Broken(f"{what}: OpenAPI has no {type_}")
            self._validate(content[type_]["schema"], json.loads(await answer.aread()), what)

    def _validate(self, schema: Json, body: object, what: str) -> None:
        name = str(schema["$ref"])
        validator = self._validators.get(name)
        if validator is None:
            schema = {**self._described, "$ref": name}
            validator = Draft202012Validator(
                schema, validate_formats=True, formats={"date-time": _is_moment}
            )
            self._validators[name] = validator
        broken = [
            f"{'.'.join(map(str, ('$', *each.instance_path)))} {each.message[:300]}"
            for each in validator.iter_errors(body)
        ]
        if broken:
            raise Broken(f"{what} is not as OpenAPI has it: {'; '.join(broken)}")


PROMISES = Promises()
