"""Sizes as OpenAI's clients write them, and sizes that are smaller than what a model draws."""

import re
from collections.abc import Iterator

from models.errors import FieldError
from models.platform.wording import shown
from models.provider.catalog import Model
from models.provider.sizes import grown

_PIXELS = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")


def read(size: object, model: Model) -> object:
    """Return the `image_size` that a `size` means, or None where the model is to choose.

    Raises `ValueError`, whose text is a sentence for its sender.
    """
    if size == "auto":
        return None
    if isinstance(size, str) and size in model.sizes:
        return size
    pixels = _PIXELS.fullmatch(size) if isinstance(size, str) else None
    if pixels is None:
        names = ", ".join(f'"{name}"' for name in model.sizes)
        raise ValueError(f'{shown(size)} is no size; use "2048x2048", {names} or "auto".')
    return {"width": int(pixels[1]), "height": int(pixels[2])}


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
    message = (
        f"{sides[0]}x{sides[1]} is smaller than {model.id} draws; the nearest size is {width}x{height}. "
        "Send that, or the header `Prefer: handling=lenient` to have sizes scaled up."
    )
    return size, [FieldError(f"/{field}", message)]


def _sides(size: object, model: Model) -> Iterator[int]:
    """Yield width and height, of a size in pixels whose sides are numbers within the model's largest."""
    if not isinstance(size, dict) or not size.keys() <= {"width", "height"}:
        return
    given = [size.get(side, model.side_default) for side in ("width", "height")]
    if all(type(side) is int and 0 < side <= model.side_max for side in given):
        yield from given
