"""The models that the catalog lists: each a file of `published/`, with the provider's own schema.

A file has `schema`, the body that the provider publishes for the model, with where it stands (`source`),
when it was read, and its hash; and `overlay`, what upstream refuses although the schema allows it, what
takes long, and, of a model that the provider gives up, why it is not called any more (`retired`).
A model is data: no code knows one by its name. `price` is None where nobody has published one: then the
model is called only while the provider's pricing route quotes it, for a hold must not be a guess.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from models.provider.dialects import Dialect, dialect_of
from models.provider.sizes import Sizes

FILES = Path(__file__).with_name("published")
_DEFAULT = "seedream-5-0-lite-preview.json"  # the model that clients get who name another one's
# What takes long anywhere, unless the overlay says otherwise.
_LARGE = {"large_sizes": ["4K"], "large_area": 8_388_608, "large_references": 4}


@dataclass(frozen=True, kw_only=True)
class Model(Sizes):
    """A model, and its price in credits for one image as it was published; None when it was not.

    `names` are all under which the provider knows it, `id` the first. `own` are the fields that this model
    has beside those that every input has, with their JSON Schema; `accepted` names all in their order.
    An image with more pixels than `large_area`, of a size in `large_sizes`, or drawn from more than
    `large_references` references takes longer, and gets the longer timeout.
    """

    id: str
    names: tuple[str, ...]
    title: str
    listed_at: datetime
    price: int | None
    retired: str | None
    references_max: int
    large_sizes: frozenset[str]
    large_area: int
    large_references: int
    dialect: Dialect = field(hash=False)
    accepted: tuple[str, ...]
    own: Mapping[str, Mapping[str, Any]] = field(hash=False, repr=False)
    required: frozenset[str]
    schema: Mapping[str, object] = field(hash=False, repr=False)


@cache
def models() -> tuple[Model, ...]:
    """Read the models, the default one first. Raises `ValueError` for a schema that was changed."""
    files = sorted(FILES.glob("*.json"), key=lambda file: (file.name != _DEFAULT, file.name))
    return tuple(read(file) for file in files)


def read(file: Path) -> Model:
    """Read a model's file. Raises `ValueError` where its schema is not the one that its hash is of."""
    told: dict[str, Any] = json.loads(file.read_bytes())
    schema, overlay = told["schema"], _LARGE | told["overlay"]
    if digest(schema) != told["sha256"]:
        raise ValueError(
            f"{file.name}: the schema is not the one that was published; its hash differs."
        )
    fields: dict[str, Any] = schema["properties"]
    dialect = dialect_of(fields)
    names = tuple(fields["model"]["enum"])
    own = {name: rule for name, rule in fields.items() if name in dialect.own}
    return Model(
        id=names[0],
        names=names,
        title=told["title"],
        listed_at=datetime.fromisoformat(told["listed_at"]).replace(tzinfo=UTC),
        price=told["price"],
        retired=overlay.get("retired"),
        references_max=dialect.references_max,
        large_sizes=frozenset(overlay["large_sizes"]),
        large_area=overlay["large_area"],
        large_references=overlay["large_references"],
        dialect=dialect,
        accepted=dialect.accepted,
        own=MappingProxyType(own),
        required=frozenset(dialect.name_of(each) for each in schema["required"]),
        schema=MappingProxyType(schema),
        **_sizes(fields.get("image_size"), overlay),
    )


def digest(schema: Mapping[str, object]) -> str:
    """Hash a schema, however it is written: SHA-256 of its JSON with sorted keys, in hex."""
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()


def _sizes(rule: Mapping[str, Any] | None, overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Sizes`, out of the schema of `image_size`: pixels, or names."""
    if rule is None:
        return {
            "sizes": {},
            "side_min": 0,
            "side_max": 0,
            "sides": None,
            "area_min": 0,
            "area_max": 0,
        }
    pixels = next(each for each in rule["anyOf"] if each["type"] == "object")
    named = next(each for each in rule["anyOf"] if each["type"] == "string")
    width, height = (pixels["properties"][side] for side in ("width", "height"))
    low, high = overlay.get("side") or (width["minimum"], width["maximum"])
    sides = (width["default"], height["default"]) if "default" in width else None
    area = overlay.get("area") or (low * low, high * high)
    return {
        "sizes": MappingProxyType(dict.fromkeys(named["enum"])),
        "side_min": low,
        "side_max": high,
        "sides": sides,
        "area_min": area[0],
        "area_max": area[1],
        "multiple": overlay.get("multiple", 1),
        "unsaid": rule.get("default") or sides or "",
    }
