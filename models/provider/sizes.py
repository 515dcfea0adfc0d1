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
    `sides` are width and height where one is left out, None where both have to be said; each side is a
    multiple of `multiple`. `unsaid` is what is drawn where no size is asked for. A model with a `side_max`
    of 0 is not asked for sizes: it has shapes (`aspect_ratio`), or its own.
    """

    sizes: Mapping[str, tuple[int, int] | None] = field(hash=False)
    side_min: int
    side_max: int
    sides: tuple[int, int] | None
    area_min: int
    area_max: int
    multiple: int = 1
    unsaid: tuple[int, int] | str = ""

    def complete(self, size: Mapping[str, object]) -> dict[str, object]:
        """Return width and height of a size in pixels; None for a side that has to be said and was not."""
        left_out = self.sides or (None, None)
        pairs = zip(("width", "height"), left_out, strict=True)
        return {side: size.get(side, default) for side, default in pairs}


def judge_size(size: object, rules: Sizes, at: str) -> Iterator[FieldError]:
    """Yield an error for each thing that is wrong with a size; `at` is the pointer to it.

    A value of a wrong type is not judged here: the shape of the input says so.
    """
    if isinstance(size, str) and size not in rules.sizes:
        yield FieldError(at, f"{shown(size)} is not a size; use {ways(rules)}.")
    if not isinstance(size, dict):
        return
    fitting = list[int]()
    for side, value in rules.complete(size).items():
        if value is None and side not in size:
            yield FieldError(f"{at}/{side}", f"{side} is required; add it.")
        # Other types are reported already; a boolean is an integer to Python only.
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        if rules.side_min <= value <= rules.side_max and value % rules.multiple == 0:
            fitting.append(value)
            continue
        steps = f", in steps of {rules.multiple}" if rules.multiple > 1 else ""
        yield FieldError(
            f"{at}/{side}",
            f"{side} is {shown(value)}; use {rules.side_min} to {rules.side_max} pixels{steps}.",
        )
    if len(fitting) == 2:  # noqa: PLR2004 - width and height
        yield from _judge_area(fitting[0], fitting[1], size, rules, at)


def resolve(size: object, rules: Sizes) -> tuple[int, int] | str:
    """Return width and height; or the name of a size whose shape the model chooses."""
    if isinstance(size, str):
        return rules.sizes.get(size) or size
    if not isinstance(size, dict):
        return rules.unsaid
    sides = rules.complete(size)
    return sides["width"], sides["height"]  # type: ignore[return-value]  # a judged size has whole numbers


def ways(rules: Sizes) -> str:
    """Say how a size of a model is written: its names, and one in pixels."""
    width, height = rules.sides or (rules.side_max, rules.side_max)
    names = [f'"{name}"' for name in rules.sizes]
    return f'{", ".join(names)} or {{"width": {width}, "height": {height}}}'


def grown(width: int, height: int, rules: Sizes) -> tuple[int, int]:
    """Scale a size up until the model draws it, keeping its shape as far as sides and steps allow.

    One that it draws comes back as it is. Both sides must be positive.
    """
    scale = max(
        1.0,
        rules.side_min / min(width, height),
        math.sqrt(rules.area_min / (width * height)),
    )
    step, most = rules.multiple, rules.side_max // rules.multiple
    steps = (math.ceil(side * scale / step - _NOISE) for side in (width, height))
    sides = (min(each, most) * step for each in steps)
    return next(sides), next(sides)


def _judge_area(
    width: int, height: int, given: Mapping[str, object], rules: Sizes, at: str
) -> Iterator[FieldError]:
    area = width * height
    if rules.area_min <= area <= rules.area_max:
        return
    small = area < rules.area_min
    rule = f"below {rules.area_min:,}" if small else f"above {rules.area_max:,}"
    left_out = next((side for side in ("width", "height") if side not in given), None)
    default = (
        f" ({left_out} was left out and is {rules.complete(given)[left_out]})" if left_out else ""
    )
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
