"""What Celery calls: each task hands its coroutine to the one loop."""

from uuid import UUID

from worker import deliver, generate
from worker.runtime.app import app
from worker.runtime.loop import current, loop


@app.task(name="generate")
def generate_image(job_id: str, fence: int) -> None:
    """Run a dispatched job."""
    loop.see_through(generate.run(current(), UUID(job_id), fence))


@app.task(name="deliver")
def deliver_event(delivery_id: str, number: int) -> None:
    """Make one try of a delivery."""
    loop.see_through(deliver.run(current(), UUID(delivery_id), number))


@app.task(name="thumbnail")
def make_thumbnail(job_id: str, project_id: str, sha256: str) -> None:
    """Draw a thumbnail that was lost with its worker."""
    loop.call(current().thumbnails.ask, UUID(job_id), UUID(project_id), sha256)
