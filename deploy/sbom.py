"""A software bill of materials (CycloneDX 1.6) of the packages that are installed in a folder.

`python deploy/sbom.py FOLDER VERSION > sbom.cdx.json`, with nothing but Python: it runs while the image is
built. The same packages and version make the same bytes.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from uuid import NAMESPACE_URL, uuid5

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r"extra\s*==")  # of a requirement that only an extra has
_SPDX = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")

Json = dict[str, object]


def bill(packages: Iterable[Distribution], version: str) -> Json:
    """Return the bill of what Darkroom of this version consists of."""
    found = {_name(each.metadata["Name"]): each for each in packages}
    components = [_component(name, found[name]) for name in sorted(found)]
    product = {
        "bom-ref": "darkroom",
        "type": "application",
        "name": "darkroom",
        "version": version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    edges = [
        {"ref": "darkroom", "dependsOn": [each["bom-ref"] for each in components]},
        *(
            {"ref": _ref(name, found[name]), "dependsOn": _needs(name, found)}
            for name in sorted(found)
        ),
    ]
    told: Json = {
        "metadata": {"component": product},
        "components": components,
        "dependencies": edges,
    }
    serial = uuid5(NAMESPACE_URL, json.dumps(told, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
    return {**head, "serialNumber": f"urn:uuid:{serial}", **told}


def _component(name: str, package: Distribution) -> Json:
    said: Json = {
        "bom-ref": _ref(name, package),
        "type": "library",
        "name": name,
        "version": package.version,
        "purl": _ref(name, package),
    }
    license_ = _license(package)
    return said if license_ is None else {**said, "licenses": [license_]}


def _license(package: Distribution) -> Json | None:
    expression = next(iter(package.metadata.get_all("License-Expression") or ()), None)
    if expression and _SPDX.fullmatch(expression):
        return {"expression": expression}
    named = [
        each.rpartition(" :: ")[2]
        for each in package.metadata.get_all("Classifier") or ()
        if each.startswith("License ::")
    ]
    return {"license": {"name": named[0]}} if named else None


def _needs(name: str, found: Mapping[str, Distribution]) -> list[str]:
    """Return which of the others a package requires, whatever the platform."""
    asked = (each for each in found[name].requires or () if not _EXTRA.search(each))
    names = (_name(match[0]) for each in asked if (match := _NAME.match(each)))
    return [_ref(each, found[each]) for each in sorted(set(names)) if each in found]


def _ref(name: str, package: Distribution) -> str:
    return f"pkg:pypi/{name}@{package.version}"


def _name(written: str) -> str:
    """Return a package's name as PyPI has it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", written).lower()


if __name__ == "__main__":
    folder, version = sys.argv[1:3]
    json.dump(bill(distributions(path=[folder]), version), sys.stdout, indent=1)
