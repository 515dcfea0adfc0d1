"""The container's health check: succeeds when one of the URLs answers 200.

    python -I deploy/healthcheck.py URL...

A role serves `/healthz` on the port of the API or on the port for metrics, never on both, so asking both
serves every role. Only the standard library, in some 50 ms: it is run every few seconds.
"""

import sys
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

_PATIENCE = 2.0  # seconds; two URLs then fit into the check's own limit


def main(urls: Sequence[str]) -> int:
    """Ask each address in turn; return 0 at the first that answers 200, else 1 and print why."""
    for url in urls:
        trouble = _ask(url)
        if trouble is None:
            return 0
        sys.stderr.write(f"{url}: {trouble}\n")
    return 1


def _ask(url: str) -> str | None:
    # Not urllib's opener: it would send this through a proxy that is meant for the provider.
    asked = urlsplit(url)
    connection = HTTPConnection(asked.netloc, timeout=_PATIENCE)
    try:
        connection.request("GET", asked.path or "/")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return None if status == HTTPStatus.OK else f"answers {status}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
