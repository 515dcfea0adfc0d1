"""The only reader of the environment: each kind of settings is read once per process, and then frozen."""

import os
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.errors import Misconfigured
from models.settings import environment
from models.settings.fields import Settings
from models.settings.local import LocalSettings
from models.settings.values import PostgresUrl

Read = TypeVar("Read", bound=BaseSettings)

# Each is right by itself and wrong beside the other.
_LONGER = (
    ("lease_run", 2, "heartbeat", "calls under way lose their leases and are paid again"),
    ("worker_seen", 1, "heartbeat", "nothing is dispatched to workers that live"),
    ("delivery_lease", 1, "webhook_timeout", "webhooks under way are sent again"),
    ("bodies_max_bytes", 1, "body_max_bytes", "the largest body never finds room"),
)
# What a short grace costs, of a role that stops: a mistake, but where calls are short it is none.
_OUTLASTED = {
    "worker": (
        ("attempt_timeout", "each stop abandons paid calls that are not over"),
        ("attempt_timeout_large", "each stop abandons paid calls of 4K that are not over"),
    ),
    "api": (("drain", "it is ended while it still takes requests"),),
}


def load() -> Settings:
    """Read the environment, or raise `Misconfigured` naming the variables and what to do."""
    loaded = _read(Settings)
    for longer, times, shorter, otherwise in _LONGER:
        if getattr(loaded, longer) < times * getattr(loaded, shorter):
            least = f"{times} x " if times > 1 else ""
            raise Misconfigured(
                f"DARKROOM_{longer.upper()}: must be at least {least}DARKROOM_{shorter.upper()}, "
                f"or {otherwise}"
            )
    return loaded


def doubt(loaded: Settings, role: Literal["api", "worker"]) -> str | None:
    """Return in one line why a role's grace is too short for what it has to finish; None if it is not."""
    grace = loaded.grace.total_seconds()
    short = [
        f"DARKROOM_{name.upper()} ({seconds:g} s): {otherwise}"
        for name, otherwise in _OUTLASTED[role]
        if (seconds := getattr(loaded, name).total_seconds()) > grace
    ]
    return f"DARKROOM_GRACE ({grace:g} s) is shorter than {'; '.join(short)}" if short else None


def load_local() -> LocalSettings:
    """Read the local stack's settings, or raise `Misconfigured` naming the variables."""
    return _read(LocalSettings, LocalSettings)


def local_only() -> set[str]:
    """Return the names that the local stack reads and its roles refuse."""
    return environment.names(LocalSettings) - environment.names(Settings)


def inherited() -> dict[str, str]:
    """Return this process's environment, as the start of a child's."""
    return dict(os.environ)


def hide(*names: str) -> None:
    """Take variables out of this process's environment that a library would believe before the settings."""
    for name in names:
        os.environ.pop(name, None)


class _Database(BaseSettings):
    model_config = SettingsConfigDict(populate_by_name=True)

    database_url: PostgresUrl = Field(validation_alias="DATABASE_URL")


def database_url() -> str:
    """Read `DATABASE_URL` alone: migrations need nothing else. Raises `Misconfigured`."""
    return _read(_Database).database_url.get_secret_value()


def _read(kind: type[Read], *local: type[LocalSettings]) -> Read:
    variables = inherited()
    environment.refuse_unknown(variables, (Settings, *local), (LocalSettings,))
    given: dict[str, Any] = environment.from_files(kind, variables)
    try:
        return kind(**given)
    except ValidationError as refused:
        raise Misconfigured(environment.explain(refused, kind, variables)) from None
