"""Models that can be called."""

from typing import Literal

from pydantic import Field

from api.contract.shapes.parts import Credits, Shape
from models.platform.jsonable import Json


class ModelVariant(Shape):
    """What an image costs of an input that has these fields."""

    when: Json
    credits: Credits


class ModelPrice(Shape):
    """The present price: as the provider quotes it, or as it was published.

    Where it depends on the input, `credits` is the dearest. Held is the dearest of the `variants` whose
    fields the input has; of an input that fits none, the dearest of all.
    """

    credits: Credits
    per: Literal["image"]
    variants: list[ModelVariant]


class Model(Shape):
    """A model that can be called; `rules` has its limits, and the JSON Schema of its input."""

    id: str
    object: Literal["model"]
    created: int = Field(description="unix seconds, since when it is listed here")
    owned_by: str
    title: str
    price: ModelPrice
    rules: Json


class UnavailableModel(Shape):
    """A model that cannot be called at present."""

    id: str
    title: str
    reason: str


class ModelList(Shape):
    """All models that can be called."""

    object: Literal["list"]
    data: list[Model]
    unavailable: list[UnavailableModel] = Field(description="what cannot be called, and why")
