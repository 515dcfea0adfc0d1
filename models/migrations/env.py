"""How Alembic reaches the database: the connection it is given, or `DATABASE_URL`."""

from alembic import context
from sqlalchemy import Connection

from models import schema  # noqa: F401 - fills the metadata
from models.platform.db import Base, open_engine
from models.settings import database_url


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        # A migration that waits for a lock makes everybody behind it wait: give up instead.
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with open_engine(database_url()).connect() as own:
        run(own)
