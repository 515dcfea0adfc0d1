"""The database itself. Each start of an installation runs this, so it loads nothing of the domain."""

from argparse import Namespace

from models import settings
from models.commands.command import Commands
from models.platform.db import migrate


def add_to(commands: Commands) -> None:
    """Add these commands."""
    brought = commands.add_parser("migrate", help="bring the database to this code's revision")
    brought.set_defaults(prints=_migrate)


def _migrate(_: Namespace) -> str:
    """Bring the database to this code's revision; return what to print of it."""
    at, own = migrate.migrate(settings.database_url()), migrate.head()
    if at == own:
        return f"database at revision {at}"
    return f"database at revision {at}, newer than this code's {own}: nothing to do"
