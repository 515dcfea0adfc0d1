"""A second PostgreSQL that follows another one, and can take its place: for failovers."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from deploy.local import postgres
from deploy.local.server import Server


@contextmanager
def following(primary: Server, folder: Path) -> Iterator[Server]:
    """Run a hot standby of this server, with its data, its users and a port of its own."""
    programs = Path(primary.command[0]).parent
    with postgres.serve(folder, durable=False, programs=programs) as standby:
        standby.stop()
        owner = standby.home.stat()
        shutil.rmtree(standby.home)
        backup = str(programs / "pg_basebackup")
        arguments = ("-d", primary.url, "-D", str(standby.home), "-R", "-c", "fast", "-X", "stream")
        subprocess.run((backup, *arguments), check=True, capture_output=True)
        for path in (standby.home, *standby.home.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        standby.url = primary.url.replace(f":{primary.port}/", f":{standby.port}/")
        standby.start()
        yield standby


def promote(standby: Server) -> None:
    """Make a standby the primary; returns when it may write."""
    with psycopg.connect(standby.url, autocommit=True) as admin:
        admin.execute("SELECT pg_promote(wait => true)")


def both(first: Server, second: Server) -> str:
    """Write the URL that finds whichever of two servers may write."""
    hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
    return f"{first.url.replace(f'127.0.0.1:{first.port}', hosts)}?target_session_attrs=read-write"
