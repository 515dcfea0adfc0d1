"""Which roles the local stack runs, with which configuration."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from deploy.local import folder, ports
from deploy.local.commands import PROJECT
from deploy.local.supervisor import Role
from models.settings import LocalSettings, inherited, local_only

_ROOT = Path(__file__).resolve().parents[2]
_LOOPBACK = "127.0.0.0/8,::1/128"
_LATENCY = "1"  # seconds per simulated call: long enough to see a job run
_GRACE_SIMULATED = 20.0  # seconds: nothing is lost when a simulated call is abandoned
_GRACE_PAID = 330.0  # the longest paid call and the keeping of its image
_AFTER_GRACE = timedelta(seconds=5)


@dataclass(frozen=True)
class Places:
    """Where everything is; `simulator` is None when the real provider is called."""

    root: Path
    api: str
    simulator: str | None
    grace: timedelta
    environment: Mapping[str, str]


def place(
    settings: LocalSettings, data: Path, database_url: str | None, redis_url: str | None
) -> Places:
    """Decide every address and write the environment of the roles; what the user set stays."""
    ours_alone = local_only()
    environment = {name: value for name, value in inherited().items() if name not in ours_alone}
    api = f"http://127.0.0.1:{settings.port}"
    simulator = None
    if settings.aimlapi_key is None:
        simulator = f"http://127.0.0.1:{ports.remembered(data / 'simulator-port')}"
        environment["AIMLAPI_KEY"] = folder.secret(data / "simulator-key")
        environment["AIMLAPI_BASE_URL"] = simulator
    environment.setdefault("AIMLAPI_BASE_URL", "https://api.aimlapi.com")
    environment.setdefault("DARKROOM_OPERATOR_PROJECT", PROJECT)  # who runs it here is who uses it
    if database_url:
        environment["DATABASE_URL"] = database_url
    if redis_url:
        environment["REDIS_URL"] = redis_url
    if settings.secret is None:
        environment["DARKROOM_SECRET"] = folder.secret(data / "secret")
    grace = settings.grace or (_GRACE_SIMULATED if simulator else _GRACE_PAID)
    allowed = ",".join(filter(None, (_LOOPBACK, settings.egress_allow)))
    environment |= {
        "DARKROOM_HOST": settings.host,
        "DARKROOM_PORT": str(settings.port),
        "DARKROOM_PUBLIC_URL": settings.public_url or api,
        "DARKROOM_STORAGE_URL": settings.storage_url or str(data / "images"),
        "DARKROOM_EGRESS_ALLOW": allowed,
        "DARKROOM_GRACE": f"{grace:g}",
        "DARKROOM_DRAIN": "0",  # no balancer stands before it
        "PYTHONUNBUFFERED": "1",
    }
    return Places(_ROOT, api, simulator, timedelta(seconds=grace), environment)


def build(places: Places, data: Path) -> tuple[Role, ...]:
    """List the roles in the order in which they are told to stop."""
    listed = [_role(places, data, "api", ("-m", "api"), ready=f"{places.api}/readyz")]
    for name, module in (("dispatcher", "worker.dispatcher"), ("worker", "worker")):
        port = ports.pick()
        ready = f"http://127.0.0.1:{port}/readyz"
        listed.append(_role(places, data, name, ("-m", module), ready=ready, metrics_port=port))
    if places.simulator:
        simulator = (
            *("-m", "deploy.simulator", "--port", places.simulator.rpartition(":")[2]),
            *("--data", str(data / "simulator"), "--key", places.environment["AIMLAPI_KEY"]),
            *("--latency", _LATENCY),
        )
        ready = f"{places.simulator}/reference/t-rex.png"
        made = _role(places, data, "simulator", simulator, ready=ready)
        listed.append(replace(made, outlasts=True))  # calls under way are to be answered
    return tuple(listed)


def _role(  # one argument for each thing in which roles differ
    places: Places,
    data: Path,
    name: str,
    arguments: tuple[str, ...],
    *,
    ready: str,
    metrics_port: int | None = None,
) -> Role:
    environment = dict(places.environment)
    if metrics_port:
        environment["DARKROOM_METRICS_PORT"] = str(metrics_port)
        environment["DARKROOM_METRICS_HOST"] = "127.0.0.1"
    return Role(
        name=name,
        command=(sys.executable, *arguments),
        environment=environment,
        folder=places.root,
        log=data / "logs" / f"{name}.log",
        ready=ready,
        grace=places.grace + _AFTER_GRACE,
    )
