"""Sizes as OpenAI's clients write them, and sizes that are smaller than what a model draws."""

import math
import re
from collections.abc import Iterator, Sequence

from models.errors import FieldError
from models.platform.wording import shown
from models.provider.catalog import Model
from models.provider.sizes import grown

_PIXELS = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")
_RATIO = re.compile(r"([0-9.]+):([0-9.]+)")
_SAME = 0.01  # shapes that differ by less look alike


def read(size: object, model: Model, *, scale: bool) -> dict[str, object]:
    """Return the fields of an input that a `size` means; none where the model is to choose.

    A model without sizes in pixels has shapes: the one that fits, or with `scale` the nearest. Raises
    `ValueError`, whose text is a sentence for its sender.
    """
    if size == "auto":
        return {}
    if isinstance(size, str) and size in model.sizes:
        return {"image_size": size}
    pixels = _PIXELS.fullmatch(size) if isinstance(size, str) else None
    if pixels is None:
        names = [f'"{name}"' for name in model.sizes]
        usable = ", ".join(['"2048x2048"', *names])
        raise ValueError(f'{shown(size)} is no size; use {usable} or "auto".')
    width, height = int(pixels[1]), int(pixels[2])
    if model.side_max:
        return {"image_size": {"width": width, "height": height}}
    return _shape(width, height, model, scale=scale)


def fit(size: object, model: Model, field: str, *, scale: bool) -> tuple[object, list[FieldError]]:
    """Scale up a size that is too small for the model, or say which one is the nearest.

    What is wrong with it otherwise is for the catalog to say.
    """
    sides = list(_sides(size, model))
    if not sides:
        return size, []
    width, height = grown(sides[0], sides[1], model)
    if [width, height] == sides:
        return size, []
    if scale:
        return {"width": width, "height": height}, []
    steps = f" in steps of {model.multiple}" if model.multiple > 1 else ""
    message = (
        f"{sides[0]}x{sides[1]} is smaller than {model.id} draws{steps}; the nearest size is "
        f"{width}x{height}. "
        "Send that, or the header `Prefer: handling=lenient` to have sizes scaled up."
    )
    return size, [FieldError(f"/{field}", message)]


def _shape(width: int, height: int, model: Model, *, scale: bool) -> dict[str, object]:
    """Return the `aspect_ratio` of a size; nothing, with `scale`, where the model has none."""
    shapes: Sequence[str] = model.own.get("aspect_ratio", {}).get("enum", ())
    ratios = {each: float(r[1]) / float(r[2]) for each in shapes if (r := _RATIO.fullmatch(each))}
    if not ratios:
        if scale:
            return {}
        raise ValueError(f'{model.id} chooses its own size; leave it out, or use "auto".')
    asked = math.log(width / height)
    best = min(ratios, key=lambda each: abs(math.log(ratios[each]) - asked))
    if not scale and abs(math.log(ratios[best]) - asked) > _SAME:
        raise ValueError(
            f"{model.id} draws the shapes {', '.join(ratios)}; {width}x{height} is none of them. Send "
            "one as aspect_ratio, or the header `Prefer: handling=lenient` to have the nearest."
        )
    return {"aspect_ratio": best}


def _sides(size: object, model: Model) -> Iterator[int]:
    """Yield width and height, of a size in pixels whose sides are numbers within the model's largest."""
    if not isinstance(size, dict) or not size.keys() <= {"width", "height"}:
        return
    given = list(model.complete(size).values())
    for side in given:
        if type(side) is not int or not 0 < side <= model.side_max:
            return
    yield from (side for side in given if isinstance(side, int))
