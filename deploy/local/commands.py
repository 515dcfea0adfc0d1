"""The operator's commands (`python -m models …`), and the API key that they print."""

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.local import folder
from models.errors import Misconfigured
from models.settings import LocalSettings

PROJECT = "local"
_SCOPES = ("jobs:write", "jobs:read", "webhooks", "usage:read", "admin")
_TIMEOUT = 120.0  # seconds; a migration of a long-lived local database included


@dataclass(frozen=True)
class Operator:
    """Runs `python -m models` in the repository, with the roles' environment."""

    environment: Mapping[str, str]
    root: Path

    async def run(self, *arguments: str) -> str:
        """Run one command and return its last line; raises `Misconfigured` with what it said."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "models", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.root,
            env=dict(self.environment),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_TIMEOUT):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            raise Misconfigured(f"`python -m models {arguments[0]}` failed: {_last(err or out)}")
        return _last(out)


async def api_key(
    operator: Operator, settings: LocalSettings, data: Path, client: httpx.AsyncClient
) -> str:
    """Return a key of the local project that the API accepts: the given, the kept, or a new one.

    It stands in `api-key` in the data folder (mode 600). `client` talks to the running API.
    """
    file = data / "api-key"
    given = settings.api_key.get_secret_value() if settings.api_key else None
    kept = file.read_text().strip() if file.exists() else None
    if given is None and kept and await _accepted(client, kept):
        return kept
    project = await operator.run("create-project", PROJECT)
    scopes = [part for scope in _SCOPES for part in ("--scope", scope)]
    wanted = () if given is None else ("--key", given)
    key = await operator.run("create-key", project, *scopes, *wanted)
    folder.keep(file, key)
    return key


async def operator_key(operator: Operator, data: Path, client: httpx.AsyncClient) -> Path:
    """Return the file with an operator's key that the API accepts: the kept, or a new one (mode 600)."""
    file = data / "operator-key"
    kept = file.read_text().strip() if file.exists() else None
    if kept is None or not await _accepted(client, kept, "/v1/operator/keys"):
        folder.keep(file, await operator.run("create-operator-key"))
    return file


async def _accepted(client: httpx.AsyncClient, key: str, listing: str = "/v1/jobs") -> bool:
    answer = await client.get(
        listing, params={"limit": 1}, headers={"Authorization": f"Bearer {key}"}
    )
    return answer.status_code == httpx.codes.OK


def _last(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"
