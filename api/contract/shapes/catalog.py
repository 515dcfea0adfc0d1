"""Models that can be called."""

from typing import Literal

from pydantic import BaseModel, Field

from api.contract.shapes.parts import Credits
from models.platform.jsonable import Json


class ModelPrice(BaseModel):
    """The catalog's price."""

    credits: Credits
    per: Literal["image"]


class Model(BaseModel):
    """A model that can be called; `rules` has its limits, and the JSON Schema of its input."""

    id: str
    object: Literal["model"]
    created: int = Field(description="unix seconds, since when it is listed here")
    owned_by: str
    title: str
    price: ModelPrice
    rules: Json


class ModelList(BaseModel):
    """All models that can be called."""

    object: Literal["list"]
    data: list[Model]
