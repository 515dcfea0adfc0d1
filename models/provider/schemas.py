"""The JSON Schema of a model's input, as Darkroom takes it: for people, and for forms made of it."""

from collections.abc import Mapping
from typing import Any

from models.provider.inputs import SeedreamInput
from models.provider.listing import Model, models


def of_input(model: Model) -> dict[str, object]:
    """Return the schema of a model's input: the published fields, by the names that Darkroom has for them.

    The default model's has words for people, and so have of other models the fields that all share.
    """
    shared = SeedreamInput.model_json_schema()
    published: Mapping[str, Any] = model.schema["properties"]  # type: ignore[assignment]  # it is JSON
    default: Mapping[str, Any] = models()[0].schema["properties"]  # type: ignore[assignment]  # as above
    if {**published, "model": None} == {**default, "model": None}:
        return {**shared, "additionalProperties": False}
    fields: dict[str, object] = {}
    for name in model.accepted:
        rule = dict(published.get(name) or shared["properties"][name])
        words = shared["properties"].get(name, {}).get("description")
        fields[name] = {**rule, "description": rule.get("description") or words or name}
    if "image_urls" in fields:
        fields["image_urls"] = _references(shared["properties"]["image_urls"], model)
    return {
        "type": "object",
        "title": model.title,
        "properties": fields,
        "required": [name for name in model.accepted if name in model.required],
        "additionalProperties": False,
    }


def _references(shared: Mapping[str, object], model: Model) -> dict[str, object]:
    least = {"minItems": 1} if "image_urls" in model.required else {}
    rule = {name: shared[name] for name in ("title", "description", "type", "items")}
    return {**rule, **least, "maxItems": model.references_max}
