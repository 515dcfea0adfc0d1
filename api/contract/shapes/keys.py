"""API keys."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from api.contract.shapes.parts import KeyId, Shape
from models.states import ProjectScope


class ApiKey(Shape):
    """A key without its secret."""

    id: KeyId
    object: Literal["api_key"]
    name: str
    hint: str
    scopes: list[ProjectScope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: Annotated[datetime | None, Field(description="within half a minute or so")]


class ApiKeyList(Shape):
    """All keys of a project, newest first."""

    object: Literal["list"]
    data: list[ApiKey]


class ApiKeyWithSecret(ApiKey):
    """A key, whole."""

    key: str
