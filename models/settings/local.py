"""The settings of the local stack, which starts every role on one machine."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.settings.values import PostgresUrl, RedisAddress


class LocalSettings(BaseSettings):
    """What the local stack (`make up`) reads; each of its roles reads its `Settings` for itself."""

    model_config = SettingsConfigDict(
        env_prefix="DARKROOM_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65_535)
    data: Path = Path(".darkroom")
    api_key: SecretStr | None = None  # the key to create; otherwise one is generated
    database_url: PostgresUrl | None = Field(default=None, validation_alias="DATABASE_URL")
    redis_url: RedisAddress | None = Field(default=None, validation_alias="REDIS_URL")
    aimlapi_key: SecretStr | None = Field(default=None, validation_alias="AIMLAPI_KEY")
    secret: SecretStr | None = None
    storage_url: str | None = None
    public_url: str | None = None
    egress_allow: str = ""
    grace: float | None = Field(default=None, gt=0)  # seconds
