"""What most people would write instead: a Celery task on Redis with `acks_late` and retries.

It is the peer of the chaos suite and no part of Darkroom. Everything it needs comes with the task, so
that it reads no environment.
"""

import httpx
import psycopg
from celery import Celery, Task

from tests.e2e.stage import MODEL

VISIBILITY = (
    30  # seconds until Redis hands a dead worker's message out again; Celery's default is an hour
)

app = Celery("peer")
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": VISIBILITY},
)


class Recorded(Task):  # type: ignore[misc]  # Celery is not typed
    """A task that says so when it has given up, as careful people write it."""

    def on_failure(self, _error: object, _id: str, arguments: list[object], *_: object) -> None:
        """Write a row without an image."""
        number, _provider, _key, database = arguments
        _write(str(database), int(str(number)), None)


@app.task(  # type: ignore[untyped-decorator]  # Celery is not typed
    base=Recorded,
    autoretry_for=(Exception,),
    retry_backoff=True,
    retry_backoff_max=10,
    max_retries=5,
)
def generate(number: int, provider: str, key: str, database: str) -> None:
    """Make the paid call, and write the row that says where its image is."""
    answer = httpx.post(
        f"{provider}/v1/images/generations",
        json={"model": MODEL, "prompt": f"picture {number}"},
        headers={"authorization": f"Bearer {key}", "x-client-request-id": f"celery-{number}"},
        timeout=30,
    )
    answer.raise_for_status()
    _write(database, number, answer.json()["data"][0]["url"])


def _write(database: str, number: int, url: str | None) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO results (number, url) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (number, url),
        )
