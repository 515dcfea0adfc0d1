"""`python -m worker.compare`: compare every model, and print what differs."""

import os
import signal
import sys

# Process 1 has no default action: told to stop while it loads what follows, it would go on. Not by an
# exception: Python drops those in a finalizer, and a class that is being made changes them.
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))

import asyncio

from models import settings
from models.errors import DarkroomError
from models.provider import catalog
from worker.compare import comparing


def main() -> int:
    """Compare every model; 0 where nothing has changed, 1 where something has, 2 when it cannot be told."""
    try:
        lines = asyncio.run(comparing.compare(settings.load()))
    except DarkroomError as refused:
        print(f"darkroom compare: {refused}", file=sys.stderr)
        return 2
    print("\n".join(lines) or f"all {len(catalog.models())} schemas are as the catalog has them")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
