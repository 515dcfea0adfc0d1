"""The description of this API, as it is committed: `python -m api.openapi > tests/guards/openapi.json`."""

import json
import sys
from functools import cache

from api.app import create_app
from models.settings import Settings


@cache
def describe() -> str:
    """Return the description at `/openapi.json`, in an order that makes differences easy to read."""
    nowhere = {"database_url": "postgresql://", "redis_url": "redis://", "secret": "-" * 32}
    described = create_app(Settings.model_validate(nowhere)).openapi()
    return json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(describe())
