"""Next to nothing: a loop that asks Postgres one short question a second, as an idle dispatcher does.

`python bare_idle.py`, configured by `peer.json`. It costs what the machine takes to wake a process.
"""

import asyncio
import json
from pathlib import Path

import psycopg


async def main(database: str) -> None:
    """Ask until somebody ends the process."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        while True:
            await connection.execute("SELECT 1")
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path("peer.json").read_text())["database"]))
