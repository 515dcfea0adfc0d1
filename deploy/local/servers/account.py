"""The account PostgreSQL runs under: it refuses uid 0, and a uid that has no passwd entry.

In the best case that is our own. For root, a user namespace shows our uid to PostgreSQL as that of
`nobody`: no account is made, no mode changed, and it works below a home of mode 0700. Where
namespaces are refused (Docker's default), root becomes `nobody` for real.
"""

import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass

from deploy.local.servers.server import SAME_ACCOUNT, launched
from models.errors import Misconfigured

_NOBODY = 65534  # the kernel's overflow uid, `nobody` on every Linux with a passwd file


@dataclass(frozen=True)
class Account:
    """How `launch.py` shall start a program; `owner` is (uid, gid) when files must change hands."""

    launch: str = SAME_ACCOUNT
    owner: tuple[int, int] | None = None


def choose() -> Account:
    """Choose the least intrusive account that PostgreSQL accepts here, or raise `Misconfigured`."""
    uid = os.geteuid()
    if uid != 0 and _has_entry(uid):
        return Account()
    inside = Account(launch=f"namespace:{_nobody()[0]}")
    if sys.platform == "linux" and _starts(inside):
        return inside
    if uid == 0 and _starts(nobody()):
        return nobody()
    raise Misconfigured(
        f"PostgreSQL cannot run as uid {uid} here; start as a user with a passwd entry, "
        "or set DATABASE_URL to a server of yours"
    )


def nobody() -> Account:
    """Return the account of `nobody`, for root is refused; its data must then lie where nobody may go."""
    uid, gid = _nobody()
    return Account(launch=f"user:{uid}:{gid}", owner=(uid, gid))


def _has_entry(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _nobody() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return _NOBODY, _NOBODY
    return entry.pw_uid, entry.pw_gid


def _starts(account: Account) -> bool:
    program = shutil.which("true") or "/bin/true"
    tried = subprocess.run(  # noqa: S603  # `true`, by its full path
        launched((program,), account=account.launch), capture_output=True, check=False
    )
    return tried.returncode == 0
