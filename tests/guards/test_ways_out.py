"""Who may open connections, and to what: nobody but egress reaches an address that others chose."""

import ast
from collections.abc import Iterable

import pytest

from tests.guards import sources

# Whatever can open a connection: modules with all that is in them, and names of the event loop.
NETWORK = {
    "aiohttp", "celery", "ftplib", "grpc", "http.client", "httpx", "httpx_aiohttp", "imaplib",
    "kombu", "obstore", "poplib", "psycopg", "pycurl", "redis", "requests", "smtplib", "socket",
    "socketserver", "telnetlib", "urllib.request", "urllib3", "websockets", "xmlrpc",
}  # fmt: skip
CALLS = {
    "open_connection", "open_unix_connection", "create_connection", "create_unix_connection",
    "create_datagram_endpoint", "sock_connect", "getaddrinfo", "gethostbyname",
    "create_engine", "create_async_engine",
}  # fmt: skip

# The reason is where each one's address comes from.
ALLOWED = {
    # Addresses that users and the provider choose: each is checked at the moment of connecting.
    "worker/egress/guarded.py": {"socket", "getaddrinfo"},
    "worker/egress/asking.py": {"aiohttp"},
    "worker/egress/kept.py": {"aiohttp"},
    "worker/egress/replies.py": {"aiohttp"},  # names the type of an answer that egress has opened
    "worker/egress/connection.py": {"aiohttp", "socket"},
    "worker/egress/wire.py": {"aiohttp"},  # what comes over both, metered and mended
    # AIMLAPI_BASE_URL.
    "worker/provider/line.py": {"aiohttp"},
    # DATABASE_URL; absences.py and usage.py know the driver's errors.
    "models/platform/db/absences.py": {"psycopg"},
    "models/platform/db/connecting.py": {"create_engine", "psycopg"},
    "models/platform/db/database.py": {"create_async_engine", "psycopg"},
    "models/platform/db/direct.py": {"psycopg"},
    "models/platform/db/stack.py": {"psycopg"},
    "models/platform/db/statements.py": {"psycopg"},  # writes in its dialect
    "models/platform/db/migrate.py": {"psycopg"},  # reads the SQLSTATE of an error
    "models/settings/postgres_url.py": {
        "psycopg"
    },  # asks libpq for the URL's form, and connects nowhere
    "models/money/usage.py": {"psycopg"},
    # REDIS_URL.
    "models/platform/lean.py": {"redis"},  # loads it, and connects nowhere
    "models/platform/doorbell/doorbell.py": {"redis"},
    "models/platform/doorbell/refusals.py": {
        "open_connection",
        "redis",
    },  # who answers in Redis' place
    "models/settings/redis_url.py": {"redis"},
    "worker/runtime/app.py": {"celery", "kombu"},
    "worker/runtime/broker.py": {"kombu", "redis"},
    "worker/dispatcher/duty.py": {"celery"},
    "worker/dispatcher/publishing.py": {"celery", "kombu", "redis"},
    # DARKROOM_STORAGE_URL.
    "models/images/storage.py": {"obstore"},
    "models/images/store_errors.py": {"obstore"},  # reads its errors
    # They listen, or ask what this machine is called; Celery's own start is in the worker's.
    "worker/runtime/health.py": {"aiohttp"},
    "worker/__main__.py": {"celery", "redis"},
    "api/__main__.py": {"socket"},
    "api/edge/connections/serving.py": {"socket"},
}


def reaches(nodes: Iterable[ast.AST]) -> set[str]:
    """Return what a module can open connections with: libraries it imports, calls it makes."""
    found: set[str] = set()
    for node in nodes:
        match node:
            case ast.Import():
                found |= {_library(each.name) for each in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                found |= {_library(module)}
                found |= {_library(f"{module}.{each.name}") for each in node.names}
                found |= {each.name for each in node.names} & CALLS
            case ast.Attribute(attr=name) if name in CALLS:
                found.add(name)
            case ast.Call(func=ast.Name(id="__import__")):
                found.add("__import__")
            case ast.Attribute(attr="import_module"):
                found.add("import_module")
    return found - {""}


def _library(module: str) -> str:
    """Return the entry of `NETWORK` that a module belongs to, or nothing."""
    return next((each for each in NETWORK if f"{module}.".startswith(f"{each}.")), "")


def test_each_module_that_opens_connections_is_known_with_its_reason() -> None:
    found = {
        sources.name(path): reach
        for path in sources.files(*sources.CODE)
        if (reach := reaches(sources.nodes(path)))
    }
    assert found == ALLOWED


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import httpx", {"httpx"}),
        ("import urllib.request", {"urllib.request"}),
        ("from urllib import request", {"urllib.request"}),
        ("from urllib.parse import urlsplit", set()),
        ("from http import HTTPStatus", set()),
        ("from http import client", {"http.client"}),
        ("def late():\n    import requests", {"requests"}),
        ("import asyncio\nasyncio.open_connection('h', 1)", {"open_connection"}),
        ("from asyncio import open_connection as dial", {"open_connection"}),
        ("loop.create_connection(make, 'h', 1)", {"create_connection"}),
        ("__import__('socket')", {"__import__"}),
        ("from importlib import import_module\nimport importlib\nimportlib.import_module('x')",
         {"import_module"}),
    ],
)  # fmt: skip
def test_a_way_out_is_noticed(code: str, found: set[str]) -> None:
    assert reaches(ast.walk(ast.parse(code))) == found


def test_what_others_chose_is_fetched_through_egress_alone() -> None:
    """Whoever posts or downloads names the context's egress, which cannot be made elsewhere."""
    makers = [
        sources.name(path)
        for path in sources.files(*sources.CODE)
        for node in sources.found(path, "Egress", "open_kept", "open_session")
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in {"Egress", "open_kept", "open_session"}
    ]
    assert makers == [
        *["worker/egress/asking.py"] * 2,  # once, and once more
        "worker/egress/kept.py",
        "worker/runtime/context.py",
    ]
