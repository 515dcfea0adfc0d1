"""Which endpoints there are: one, all of a project, or those that list an event."""

from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, select
from sqlalchemy import inspect as mapped

from models.errors import NotFound
from models.platform.db import Transaction
from models.platform.db.statements import Reader, given, loaded, prepared
from models.schema import Endpoint
from models.states import EventType


async def of(tx: Transaction, project_id: UUID) -> list[Endpoint]:
    """Return the endpoints of a project, newest first."""
    rows = await tx.scalars(select(Endpoint).where(*there(project_id)).order_by(Endpoint.id.desc()))
    return list(rows)


async def find(
    tx: Transaction, project_id: UUID, endpoint_id: UUID | None, *, lock: bool = False
) -> Endpoint:
    """Return one endpoint; raises `NotFound`, also for another project's."""
    wanted = select(Endpoint).where(Endpoint.id == endpoint_id, *there(project_id))
    if lock:
        wanted = wanted.with_for_update(key_share=True)
    found = await tx.scalar(wanted)
    if found is None:
        raise NotFound("There is no such endpoint in this project.")
    return found


async def take(tx: Transaction, endpoint_id: UUID) -> Endpoint:
    """Lock an endpoint's row until the transaction ends; a deleted one too."""
    rows = await tx.scalars(
        select(Endpoint).where(Endpoint.id == endpoint_id).with_for_update(key_share=True),
    )
    return rows.one()


async def wanting(
    driver: Reader, project_id: UUID, type_: EventType, *, but: UUID | None = None
) -> list[Endpoint]:
    """Return the project's endpoints that list this event, as an event is addressed.

    Disabled ones too: theirs are held.
    """
    asked = {"project": project_id, "types": [type_], "but": but}
    return [loaded(Endpoint, row) for row in await driver.read(_WANTING, asked)]


def wants(
    project_id: UUID | ColumnElement[UUID], types: list[str] | ColumnElement[list[str]]
) -> tuple[ColumnElement[bool], ...]:
    """Write the conditions that an endpoint is the project's, and lists these events."""
    return *there(project_id), Endpoint.events.contains(types)


def there(project_id: UUID | ColumnElement[UUID]) -> tuple[ColumnElement[bool], ...]:
    """Write the conditions that an endpoint is the project's, and was not deleted."""
    return Endpoint.project_id == project_id, Endpoint.deleted_at.is_(None)


_WANTING = prepared(
    select(Endpoint.id, Endpoint.url, Endpoint.enabled).where(
        *wants(given("project", Uuid()), given("types", mapped(Endpoint).columns["events"])),
        Endpoint.id.is_distinct_from(given("but", Uuid())),
    )
)
