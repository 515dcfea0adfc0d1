"""DATABASE_URL, in libpq's form: what libpq refuses is found and named before anybody connects.

    postgresql://user:password@host:5432/name
    postgresql://user:password@pg-a:5432,pg-b:5432/name?target_session_attrs=read-write

https://www.postgresql.org/docs/current/libpq-connect.html lists its options.
"""

import re
from pathlib import Path

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn

_FORM = "not the URL of a database; give postgresql://user:password@host:5432/name"
_LAST_PORT = 65_535
_NOWHERE = "/nowhere-of-darkroom"  # a folder without a socket: nobody is asked
_SECRETS = ("user", "password", "sslpassword", "dbname", "host", "hostaddr")
# libpq reads these when it connects, and its refusal would look like an absence.
_NUMBERS = re.compile(r"connect_timeout|tcp_user_timeout|keepalives\w*")
_FILES = re.compile(r"ssl(rootcert|cert|key|crl|crldir)")
_WRITABLE = ("any", "read-write", "primary")  # no role has a use for a server that only reads


def demand(url: str) -> None:
    """Raise ValueError unless libpq takes this URL; it names the option, and repeats no secret."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError(_FORM)
    try:
        told = {name: str(said) for name, said in conninfo_to_dict(url).items() if said}
    except ProgrammingError:  # its text may repeat the password
        raise ValueError(_unknown(url) or _FORM) from None
    if not all(_port(each) for each in told.get("port", "").split(",") if each):
        raise ValueError(_FORM)
    _demand_values(told)
    refused = _refusal(told)
    if refused is not None:
        raise ValueError(f"libpq refuses its options: {refused}")


def _demand_values(told: dict[str, str]) -> None:
    for name, value in told.items():
        if _NUMBERS.fullmatch(name) and not value.isdecimal():
            raise ValueError(f"its {name} is not a number")
        if _FILES.fullmatch(name) and value != "system" and not Path(value).exists():
            raise ValueError(f"its {name} names a file that is not there")
    if told.get("target_session_attrs", _WRITABLE[0]) not in _WRITABLE:
        raise ValueError(f"its target_session_attrs is none of {', '.join(_WRITABLE)}")


def _unknown(url: str) -> str | None:
    """Return which option libpq does not know, if that is what is wrong with a URL."""
    for option in url.rpartition("@")[2].partition("?")[2].split("&"):
        try:
            conninfo_to_dict(f"postgresql://?{option}")
        except ProgrammingError:
            name = option.partition("=")[0]
            return f"libpq does not take its option {name}" if name.isidentifier() else None
    return None


def _refusal(told: dict[str, str]) -> str | None:
    """Return libpq's own words on options that it does not take; nothing secret is among them."""
    hosts = told.get("host") or told.get("hostaddr") or ""
    nowhere = ",".join(_NOWHERE for _ in hosts.split(","))
    asked = {name: value for name, value in told.items() if name not in _SECRETS}
    begun = PGconn.connect_start(make_conninfo(host=nowhere, **asked).encode())
    said = begun.error_message.decode(errors="replace")
    begun.finish()
    return None if _NOWHERE in said else said.partition("\n")[0]


def _port(written: str) -> bool:
    return written.isdecimal() and 0 < int(written) <= _LAST_PORT
