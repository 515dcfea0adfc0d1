"""What went wrong, in one line that may be logged, stored and shown."""

from sqlalchemy.exc import DBAPIError

from models.errors import Unavailable


def said(failed: Exception) -> str:
    """Return what an exception says, without the statement's parameters, which are people's."""
    if isinstance(failed, Unavailable):
        return failed.detail
    error = failed.orig if isinstance(failed, DBAPIError) and failed.orig is not None else failed
    return f"{type(error).__name__}: {error}".partition("\n")[0]
