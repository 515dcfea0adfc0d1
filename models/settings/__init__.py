"""Settings: the only reader of the environment, and what the value of each may be.

A setting is a field in `fields`, with its reason beside it, and a row in docs/settings.md.
Promises: read once for each process, frozen, and refused with one line that names the variable and
what is wrong.
"""

from models.settings.fields import Settings, path_of
from models.settings.loading import (
    database_url,
    doubt,
    hide,
    inherited,
    load,
    load_local,
    local_only,
)
from models.settings.local import LocalSettings

__all__ = [
    "LocalSettings", "Settings", "database_url", "doubt", "hide", "inherited", "load", "load_local",
    "local_only", "path_of", "redis_url", "values",
]  # fmt: skip
