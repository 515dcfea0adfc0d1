"""The proxy that drops answers to COMMIT, in a process of its own: the customers must not slow it down."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.local.servers.server import launched
from tests.e2e.stage import ROOT
from tests.fixtures.commits import proxy


@dataclass
class Commits:
    """The far end: `url` is the database as it is seen through the proxy."""

    url: str
    process: "subprocess.Popen[str]"

    def drop(self, answers: int) -> int:
        """Let the next answers to COMMIT be lost; returns how many were lost since the last time."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{answers}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def standing_before(database_url: str) -> Iterator[Commits]:
    """Stand before this database until the block ends."""
    process = subprocess.Popen(
        launched((sys.executable, "-m", __name__)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        # Not as an argument: the URL has a password, and everybody can read arguments.
        process.stdin.write(f"{database_url}\n")
        process.stdin.flush()
        try:
            yield Commits(process.stdout.readline().strip(), process)
        finally:
            process.kill()


async def _stand() -> None:
    def told() -> str:
        return sys.stdin.readline().strip()

    def tell(word: object) -> None:
        print(word, flush=True)  # noqa: T201 - the other end of the pipe

    async with proxy(await asyncio.to_thread(told)) as standing:
        tell(standing.url)
        while answers := await asyncio.to_thread(told):
            tell(standing.dropped)
            standing.drop, standing.dropped = int(answers), 0


if __name__ == "__main__":
    asyncio.run(_stand())
