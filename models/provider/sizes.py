"""Sizes of an image: which a model draws, and what a size that is left out means."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from models.errors import FieldError
from models.platform.wording import shown

_NOISE = 1e-6  # pixels: what floating point adds to a product that is whole


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a model can draw: sides in pixels, areas in pixels, and sizes with a name.

    `sizes` maps a named size to its width and height, or to None where the model chooses the shape.
    """

    sizes: Mapping[str, tuple[int, int] | None] = field(hash=False)
    side_min: int
    side_max: int
    side_default: int
    area_min: int
    area_max: int


def judge_size(size: object, rules: Sizes, at: str) -> Iterator[FieldError]:
    """Yield an error for each thing that is wrong with a size; `at` is the pointer to it.

    A value of a wrong type is not judged here: the shape of the input says so.
    """
    if isinstance(size, str) and size not in rules.sizes:
        names = ", ".join(f'"{name}"' for name in rules.sizes)
        yield FieldError(
            at, f'{shown(size)} is not a size; use {names} or {{"width": 2048, "height": 2048}}.'
        )
    if not isinstance(size, dict):
        return
    sides = {side: size.get(side, rules.side_default) for side in ("width", "height")}
    fitting = 0
    for side, value in sides.items():
        # Other types are reported already; a boolean is an integer to Python only.
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        if rules.side_min <= value <= rules.side_max:
            fitting += 1
            continue
        yield FieldError(
            f"{at}/{side}",
            f"{side} is {shown(value)}; use {rules.side_min} to {rules.side_max} pixels.",
        )
    if fitting == len(sides):
        yield from _judge_area(sides["width"], sides["height"], size, rules, at)


def resolve(size: object, rules: Sizes) -> tuple[int, int] | str:
    """Return width and height; or the name of a size whose shape the model chooses."""
    if isinstance(size, str):
        return rules.sizes.get(size) or size
    sides = size if isinstance(size, dict) else {}
    return sides.get("width", rules.side_default), sides.get("height", rules.side_default)


def grown(width: int, height: int, rules: Sizes) -> tuple[int, int]:
    """Scale a size up until the model draws it, keeping its shape as far as the sides allow.

    One that is large enough comes back as it is. Both sides must be positive.
    """
    scale = max(
        1.0,
        rules.side_min / min(width, height),
        math.sqrt(rules.area_min / (width * height)),
    )
    sides = (min(math.ceil(side * scale - _NOISE), rules.side_max) for side in (width, height))
    return next(sides), next(sides)


def _judge_area(
    width: int, height: int, given: Mapping[str, object], rules: Sizes, at: str
) -> Iterator[FieldError]:
    area = width * height
    if rules.area_min <= area <= rules.area_max:
        return
    small = area < rules.area_min
    rule = f"below {rules.area_min:,}" if small else f"above {rules.area_max:,}"
    left_out = [side for side in ("width", "height") if side not in given]
    default = f" ({left_out[0]} was left out and is {rules.side_default})" if left_out else ""
    better = _nearest(width, height, rules)
    yield FieldError(
        at,
        f"{width}x{height}{default} is {area:,} pixels; the provider refuses {rule}. "
        f"Use {better[0]}x{better[1]}, for example.",
    )


def _nearest(width: int, height: int, rules: Sizes) -> tuple[int, int]:
    """Scale a size until its area is allowed, keeping its shape as far as the sides allow."""
    if width * height < rules.area_min:
        scale = math.sqrt(rules.area_min / (width * height))
        least = max(math.ceil(width * scale), math.ceil(rules.area_min / rules.side_max))
        width = min(least, rules.side_max)
        return width, max(height, math.ceil(rules.area_min / width))
    scale = math.sqrt(rules.area_max / (width * height))
    most = min(math.floor(width * scale), rules.area_max // rules.side_min)
    width = max(most, rules.side_min)
    return width, min(height, rules.area_max // width)
