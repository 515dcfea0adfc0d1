"""The schemas of the catalog beside those that the provider serves at present."""

import json
from collections.abc import Iterator, Mapping, Sequence

from pydantic import SecretStr

from models.platform.wording import printable
from models.provider import catalog
from models.provider.catalog import Model
from models.settings import Settings
from worker.provider import AccountUnavailable, Provider

_PATH = ("paths", "/v1/images/generations", "post", "requestBody", "content", "application/json")
_NONE = SecretStr("none-is-needed")  # the documents are public
# For people: they change what no call may say.
_WORDS = frozenset({"description", "example", "title"})


async def compare(loaded: Settings) -> Sequence[str]:
    """Return a line for each field that differs, and for each model whose schema is not to be had."""
    lines = list[str]()
    key = loaded.aimlapi_key or _NONE
    async with Provider(loaded.aimlapi_base_url, key, loaded.connect_timeout) as provider:
        for model in catalog.models():
            try:
                lines += changes(model, await provider.account.published(model.id))
            except AccountUnavailable as failed:
                lines.append(f"{model.id}: not to be had ({failed})")
    return lines


def changes(model: Model, document: object) -> Iterator[str]:
    """Yield what differs between a model's schema in the catalog and the provider's document of it."""
    present = _schema(document)
    if present is None:
        yield f"{model.id}: the provider's document has no schema of POST {_PATH[1]}"
        return
    ours, theirs = _fields(model.schema), _fields(present)
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours:
            yield f"{model.id}: {printable(name)} is new: {theirs[name]}"
        elif name not in theirs:
            yield f"{model.id}: {name} is gone"
        elif ours[name] != theirs[name]:
            yield f"{model.id}: {name} was {ours[name]} and is {theirs[name]}"


def _schema(document: object) -> Mapping[str, object] | None:
    found = document
    for part in (*_PATH, "schema"):
        found = found.get(part) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _fields(schema: Mapping[str, object]) -> dict[str, str]:
    """Return each field's rule as JSON, without words for people; `(required)` is one of them."""
    fields = schema.get("properties")
    rules = {
        str(name): _written(rule)
        for name, rule in (fields.items() if isinstance(fields, dict) else ())
    }
    required = schema.get("required")
    names = sorted(map(str, required)) if isinstance(required, list) else []
    return {**rules, "(required)": ", ".join(names)}


def _written(rule: object) -> str:
    return json.dumps(_bare(rule), sort_keys=True, default=float)


def _bare(rule: object) -> object:
    if isinstance(rule, dict):
        return {name: _bare(each) for name, each in rule.items() if name not in _WORDS}
    return [_bare(each) for each in rule] if isinstance(rule, list) else rule
