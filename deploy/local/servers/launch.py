"""Become a program that dies with its parent, under another user id where asked.

A script, never imported: `python -I -S launch.py PARENT SIGNAL ACCOUNT PROGRAM ARGUMENT...`. It
stands between `Popen` and the program because the same steps in a `preexec_fn` may deadlock in a
process with threads. ACCOUNT is `same`, `namespace:UID` or `user:UID:GID` (see `account.py`).
"""

import ctypes
import os
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent: int, death_signal: int, account: str, program: list[str]) -> None:
    """Change the user id, tie this process to its parent's life, and become the program."""
    kind, *ids = account.split(":")
    if kind == "namespace":
        _enter_namespace(int(ids[0]))
    elif kind == "user":
        os.setgroups([])
        os.setgid(int(ids[1]))
        os.setuid(int(ids[0]))
    # After the change of ids: the kernel forgets the death signal when credentials change.
    _die_with(parent, death_signal)
    os.execv(program[0], program)  # noqa: S606  # the program and its arguments are our own


def _enter_namespace(uid: int) -> None:
    """Show this process's user to itself as `uid`; outside nothing changes (user_namespaces(7))."""
    outside_uid, outside_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        sys.exit(f"no user namespace: {os.strerror(ctypes.get_errno())}")
    me = Path("/proc/self")
    me.joinpath("setgroups").write_text("deny")
    me.joinpath("uid_map").write_text(f"{uid} {outside_uid} 1")
    me.joinpath("gid_map").write_text(f"{uid} {outside_gid} 1")


def _die_with(parent: int, death_signal: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit("the parent has gone")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
