"""The models that the catalog lists: each a file of `published/`, with the provider's own schema.

A file has `schema`, the body that the provider publishes for the model, with where it stands (`source`),
when it was read, and its hash; and `overlay`, what upstream refuses although the schema allows it, and what
takes long.
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

from models.provider.sizes import Sizes

FILES = Path(__file__).with_name("published")
_DEFAULT = "seedream-5-0-lite-preview.json"  # the model that clients get who name another one's


@dataclass(frozen=True, kw_only=True)
class Model(Sizes):
    """A model, and its price in credits for one image as it was published; None when it was not.

    An image with more pixels than `large_area`, of a size in `large_sizes`, or drawn from more than
    `large_references` references takes longer, and gets the longer timeout.
    """

    id: str
    title: str
    listed_at: datetime
    price: int | None
    references_max: int
    large_sizes: frozenset[str]
    large_area: int
    large_references: int
    schema: Mapping[str, object] = field(hash=False, repr=False)


@cache
def models() -> tuple[Model, ...]:
    """Read the models, the default one first. Raises `ValueError` for a schema that was changed."""
    files = sorted(FILES.glob("*.json"), key=lambda file: (file.name != _DEFAULT, file.name))
    return tuple(read(file) for file in files)


def read(file: Path) -> Model:
    """Read a model's file. Raises `ValueError` where its schema is not the one that its hash is of."""
    told: dict[str, Any] = json.loads(file.read_bytes())
    schema, overlay = told["schema"], told["overlay"]
    canonical = json.dumps(schema, sort_keys=True).encode()
    if hashlib.sha256(canonical).hexdigest() != told["sha256"]:
        raise ValueError(
            f"{file.name}: the schema is not the one that was published; its hash differs."
        )
    fields = schema["properties"]
    pixels, named = fields["image_size"]["anyOf"]
    side = pixels["properties"]["width"]
    return Model(
        id=fields["model"]["enum"][0],
        title=told["title"],
        listed_at=datetime.fromisoformat(told["listed_at"]).replace(tzinfo=UTC),
        price=told["price"],
        sizes=MappingProxyType(dict.fromkeys(named["enum"])),
        side_min=side["minimum"],
        side_max=side["maximum"],
        side_default=side["default"],
        area_min=overlay["area"][0],
        area_max=overlay["area"][1],
        references_max=fields["image_urls"]["maxItems"],
        large_sizes=frozenset(overlay["large_sizes"]),
        large_area=overlay["large_area"],
        large_references=overlay["large_references"],
        schema=MappingProxyType(schema),
    )
