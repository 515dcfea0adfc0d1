"""The image that deploy/Dockerfile makes: what is in it, and every role of it as its pod runs it.

Its base is made here (`base.sh`): what Docker's own has beside Python is not tried. It is run without
an engine: in its root, which is read-only, and as its user.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy import simulator
from deploy.simulator import Running
from tests.chart import pods
from tests.chart.pods import Cluster
from tests.fixtures import debian
from tests.fixtures.databases import Databases
from tests.fixtures.pages import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

STORE = ROOT / ".image" / "store"
BASE = "docker.io/library/python:3.11.16-slim-trixie"
NAME = "localhost/darkroom:test"
LABELS = {"VERSION": "0.1.0", "REVISION": "0" * 40, "CREATED": "2026-11-29T00:00:00Z"}
# In the image's root, where nothing can be written but /tmp and what a pod mounts.
_ENTER = """
mount --bind {root} {root} && mount -o remount,bind,ro {root} && mount -t tmpfs tmpfs {root}/tmp
mount --rbind /dev {root}/dev && mount -t proc proc {root}/proc
mount -t tmpfs tmpfs {root}/run && mkdir -p {root}/run/secrets/darkroom
mount --bind {own} {root}/var/lib/darkroom
mount --bind {secrets} {root}/run/secrets/darkroom
exec chroot --userspec={user} {root} /usr/bin/env --chdir={workdir} {command}
"""


def buildah(*arguments: str | Path) -> str:
    """Run Buildah on a store of our own; returns what it prints."""
    ran = subprocess.run(
        [debian.program("buildah", "buildah"), "--root", STORE, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4_000:]
    return ran.stdout.strip()


@dataclass(frozen=True)
class Image:
    """One that is built: its configuration, and where its files are."""

    config: Mapping[str, Any]
    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """What every process in it is given."""
        return dict(each.split("=", 1) for each in self.config["Env"])


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Build it; as root, where there is Buildah."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    debian.program("debootstrap", "debootstrap")
    STORE.mkdir(parents=True, exist_ok=True)
    if BASE not in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        script = Path(__file__).with_name("base.sh")
        subprocess.run(["/bin/sh", script, sys.executable, STORE, BASE], check=True)
    told = [part for name, value in LABELS.items() for part in ("--build-arg", f"{name}={value}")]
    buildah(
        "build", "--isolation", "chroot", "--pull-never", "--format", "docker", *told,
        "--file", "deploy/Dockerfile", "--tag", NAME, ".",
    )  # fmt: skip
    box = buildah("from", "--pull-never", NAME)
    try:
        config = json.loads(buildah("inspect", "--type", "image", NAME))["Docker"]["config"]
        yield Image(config, Path(buildah("mount", box)))
    finally:
        buildah("rm", "--all")


def test_it_says_what_it_is_and_runs_as_nobody(image: Image) -> None:
    config = image.config
    assert (config["User"], config["StopSignal"]) == ("10001:10001", "SIGTERM")
    assert config["Cmd"] == ["python", "-m", "api"]
    said = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert {name: said[name.lower()] for name in LABELS} == LABELS
    assert said["name"] == BASE


def test_its_bill_of_materials_is_what_was_locked(image: Image) -> None:
    bill = json.loads((image.root / "opt/darkroom/sbom.cdx.json").read_text())
    lock = (ROOT / "deploy" / "requirements-runtime.lock").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==([^ ;\\]+)", lock, re.MULTILINE))
    found = {each["name"]: each["version"] for each in bill["components"]}
    assert found.items() <= locked.items()
    assert {"fastapi", "celery", "psycopg", "opentelemetry-sdk"} <= found.keys()
    assert bill["metadata"]["component"]["version"] == LABELS["VERSION"]


def test_nobody_but_root_can_change_what_is_in_it(image: Image) -> None:
    for folder in ("app", "opt/darkroom", "usr/local"):
        for path in (image.root / folder).rglob("*"):
            told = path.lstat()
            loose = told.st_uid != 0 or (told.st_mode & 0o022 and not path.is_symlink())
            assert not loose, path
    kept = (image.root / "var/lib/darkroom").stat()
    assert (kept.st_uid, kept.st_mode & 0o777) == (10001, 0o750)


@dataclass
class Boxes(Cluster):
    """Pods whose containers are of the image."""

    image: Image = field(kw_only=True)

    def environment(self, role: str) -> dict[str, str]:
        """Return a container's environment: the image's, and over it the pod's."""
        here = {"DARKROOM_STORAGE_URL": "/var/lib/darkroom/images", "TMPDIR": "/tmp"}  # noqa: S108 - its own
        given = super().environment(role) | {"PATH": self.image.environment["PATH"]}
        mounted = {
            name: value.replace(str(self.folder / "secrets"), "/run/secrets/darkroom")
            for name, value in given.items()
        }
        return self.image.environment | mounted | (here if role != "migrate" else {})

    def _wrapped(self, command: Sequence[str]) -> list[str]:
        entered = _ENTER.strip().replace("\n", " && ").format(
            root=shlex.quote(str(self.image.root)),
            own=shlex.quote(str(self.folder / "own")),
            secrets=shlex.quote(str(self.folder / "secrets")),
            user=self.image.config["User"],
            workdir=self.image.config["WorkingDir"],
            command=shlex.join(command),
        )  # fmt: skip
        return ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", entered]


@pytest.fixture
async def provider() -> AsyncIterator[Running]:
    async with simulator.serve(simulator.Config(pictures="stamped", latency=3)) as running:
        yield running


@pytest.fixture
def boxes(
    image: Image, tmp_path: Path, databases: Databases, redis_server: str, provider: Running
) -> Iterator[Boxes]:
    made = partial(Boxes, image=image)
    with pods.opened(made, tmp_path, databases, redis_server, provider.url, "files") as opened:
        for folder in ("own", "secrets"):
            os.chown(tmp_path / folder, 10001, 10001)
        yield opened


async def test_every_role_runs_from_it_as_its_pod_would(boxes: Boxes, provider: Running) -> None:
    await pods.play(boxes, provider)
