"""The bill of materials that the image carries: valid CycloneDX, of all that is locked for it."""

import json
import re
import site
import subprocess
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.fixtures.pages import ROOT

LOCK = ROOT / "deploy" / "requirements-runtime.lock"


def made() -> str:
    """Make the bill of what is installed here, as the image's build does of its own folder."""
    command = [sys.executable, "deploy/sbom.py", site.getsitepackages()[0], "1.2.3"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_the_bill_is_cyclonedx_and_the_same_each_time() -> None:
    written = made()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written) is None
    assert made() == written


def test_the_bill_names_every_locked_package_with_its_version() -> None:
    bill = json.loads(made())
    named = {each["purl"] for each in bill["components"]}
    locked = re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)([^\\]*)", LOCK.read_text(), re.MULTILINE)
    here = {f"pkg:pypi/{name}@{version}" for name, version, only in locked if ";" not in only}
    assert len(here) > 30
    assert here - named == set()
    refs = {each["bom-ref"] for each in bill["components"]} | {"darkroom"}
    for edge in bill["dependencies"]:
        assert {edge["ref"], *edge["dependsOn"]} <= refs
    (fastapi,) = (each for each in bill["dependencies"] if "/fastapi@" in each["ref"])
    assert any("/starlette@" in each for each in fastapi["dependsOn"])
