"""How to connect to Postgres, and what each session is told."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Engine, create_engine

# What each session is told, and what bounds a forgotten or frozen client. pgbouncer drops it, when told
# to ignore `options`: then it must stand on the user or the database; `premises` looks whether it does.
SESSION = {
    # What a server, database or user may have been told otherwise, and our statements count on.
    "datestyle": "ISO",
    "default_transaction_isolation": "read committed",
    "intervalstyle": "postgres",
    "idle_in_transaction_session_timeout": "5s",
    "idle_session_timeout": "0",  # a pool's connections are idle: the first write after it would fail
    # Packaged servers compile what looks dear: 2 to 5 s for a release that runs for 5 ms.
    "jit": "off",
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "timezone": "UTC",
}

# What sessions for the driver's own statements (`direct`) of workers and apis are told besides. These are
# few, and each is written for one plan, over indexes: so it is planned once on each connection, and not
# anew the first five times. That may be while a table is empty, when to read it all looks cheapest.
PLANNED_ONCE = {"enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"}

# How soon a server that is gone is given up, unless DATABASE_URL says otherwise.
_CONNECT = {
    "connect_timeout": "5",  # seconds
    "tcp_user_timeout": "10000",  # milliseconds
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
}

# Whatever the database's own is: with SQL_ASCII psycopg would give bytes for text.
_ENCODING = "utf8"

_BLANK = r"\ "  # as libpq's `options` have it

# Who names the server to SQLAlchemy is psycopg: it alone knows libpq's URLs, with several hosts.
DRIVER = "postgresql+psycopg://"


def conninfo(url: str, name: str, also: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return how to connect: what the URL says itself it keeps, but for what each session is told.

    `also` is what these sessions are told besides.
    """
    told = {each: str(said) for each, said in conninfo_to_dict(url).items() if said is not None}
    session = {**SESSION, **also}
    bounds = (f"-c {each}={value.replace(' ', _BLANK)}" for each, value in session.items())
    options = " ".join((told.get("options", ""), *bounds)).strip()
    ours = {"options": options, "client_encoding": _ENCODING}
    return make_conninfo(**{**_CONNECT, "fallback_application_name": name, **told, **ours})


def open_engine(url: str) -> Engine:
    """Open an engine for migrations, which may take long and use one connection."""
    own = make_conninfo(url, client_encoding=_ENCODING)
    connect = partial(psycopg.connect, own, fallback_application_name="darkroom-migrate")
    return create_engine(DRIVER, creator=connect)
