"""What a body asks for, in each dialect that the provider's models have.

Sizes are pixels, names or shapes; images are counted in `num_images` or `n`; and what the models of one
upstream answer has `images`, what the others do has `data`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.simulator.config import CREDITS_PER_USD

# Names of sizes as the provider's upstreams document them.
SIZES = {
    "1.5K": (1536, 1536), "2K": (2048, 2048), "4K": (4096, 4096),
    "square_hd": (1024, 1024), "square": (512, 512),
    "portrait_4_3": (768, 1024), "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768), "landscape_16_9": (1024, 576),
}  # fmt: skip
_SIDES = {"1K": 1024, "2K": 2048, "4K": 4096}  # of the square that a resolution is as large as
_STEP = 16  # sides of a shape are rounded to it
_COUNTS = ("num_images", "n")


@dataclass(frozen=True)
class Order:
    """What a valid body asks for; the size is in pixels. `listed` tells in which list the images come."""

    model: str
    prompt: str
    width: int
    height: int
    seed: int | None
    b64: bool
    count: int = 1
    listed: str = "data"
    body: Mapping[str, object] = field(default_factory=dict)


def read(body: Mapping[str, Any], schema: Mapping[str, Any]) -> Order:
    """Read a body that the schema has passed."""
    rules: Mapping[str, Any] = schema["properties"]
    defaults = {name: rule["default"] for name, rule in rules.items() if "default" in rule}
    said: dict[str, Any] = {**defaults, **body}
    width, height = _size(said, rules)
    return Order(
        model=body["model"],
        prompt=body["prompt"],
        width=width,
        height=height,
        seed=body.get("seed"),
        b64=said.get("response_format") == "b64_json",
        count=next((int(said[name]) for name in _COUNTS if name in said), 1),
        listed="images" if "enable_safety_checker" in rules else "data",
        body=said,
    )


def price(said: Mapping[str, object], tariff: Mapping[str, Any] | None, otherwise: int) -> int:
    """Return what one image costs in credits, by a `pricing` block; `otherwise` where it tells no rate."""
    for each in (tariff or {}).get("variants", ()):
        if all(said.get(name) == value for name, value in each["when"].items()):
            return round(float(each["price"]) * CREDITS_PER_USD)
    for each in (tariff or {}).get("units", ()):
        return round(float(each["price"]) / float(each.get("per", 1)) * CREDITS_PER_USD)
    return otherwise


def _size(said: Mapping[str, Any], rules: Mapping[str, Any]) -> tuple[int, int]:
    asked = said.get("image_size")
    if isinstance(asked, dict):
        sides = _pixels(rules["image_size"])
        width, height = (
            asked.get(side, sides[side].get("default")) for side in ("width", "height")
        )
        return int(width), int(height)
    if asked is not None or "image_size" in rules:
        return SIZES[asked or "2K"]
    side = _SIDES.get(str(said.get("resolution", "1K")).upper(), 1024)
    across, _, down = str(said.get("aspect_ratio", "1:1")).partition(":")
    shape = math.sqrt(float(across) / float(down)) if down else 1.0
    return _rounded(side * shape), _rounded(side / shape)


def _pixels(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(each for each in rule["anyOf"] if each["type"] == "object")
    return found["properties"]  # type: ignore[no-any-return]  # it is JSON


def _rounded(side: float) -> int:
    return round(side / _STEP) * _STEP
