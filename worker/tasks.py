"""What Celery calls: each task begins its coroutines on the one loop, and waits for no call."""

from uuid import UUID

from worker import deliver, fetching, generate
from worker.runtime.app import app, bundle
from worker.runtime.loop import current, loop


@app.task(name="generate")
def generate_images(*dispatched: object) -> None:
    """Begin dispatched jobs: each is named by its id and its fence."""
    loop.see_through(generate.start(current(), bundle(dispatched)))


@app.task(name="deliver")
def deliver_events(*woken: object) -> None:
    """Begin one try of each delivery: each is named by its id and the number of the try."""
    loop.see_through(deliver.start(current(), bundle(woken)))


@app.task(name="fetch")
def fetch_picture(fetch_id: str) -> None:
    """Fetch a picture for a file; one that is lost with its worker is handed out again."""
    loop.spawn(fetching.run(current(), UUID(fetch_id)))


@app.task(name="thumbnail")
def make_thumbnail(job_id: str, project_id: str, sha256: str) -> None:
    """Draw a thumbnail that was lost with its worker."""
    loop.call(current().thumbnails.ask, UUID(job_id), UUID(project_id), sha256)
