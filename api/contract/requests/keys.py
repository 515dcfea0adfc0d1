"""API keys: a new one, and one in place of another."""

from typing import Annotated

from pydantic import Field

from api.contract.requests.parts import Strict, Text
from models.states import SCOPES, ProjectScope


class KeyBody(Strict):
    """A new API key of the caller's project."""

    name: Annotated[Text, Field(min_length=1, max_length=128)]
    scopes: Annotated[list[ProjectScope], Field(min_length=1, max_length=len(SCOPES))]


class RotateBody(Strict):
    """How long the old key still works, in seconds."""

    grace: Annotated[int, Field(ge=0, le=604_800)] = 86_400
