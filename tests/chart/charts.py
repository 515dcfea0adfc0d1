"""The chart, rendered: by Helm where `make chart` has brought it, or as it is committed."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from tests.fixtures.pages import ROOT

CHART = ROOT / "deploy" / "chart"
FOLDER = ROOT / "deploy" / "kubernetes"
TOOLS = ROOT / ".chart" / "bin"
PROGRAMS = Path(__file__).parent / "tools"

Values = dict[str, object]
Document = Mapping[str, object]

# What is committed, by file: the templates that it comes from, and the values beside values.yaml.
BASE = ("migrate", "roles", "service", "network")
MONITORING: Values = {
    "monitoring": {each: {"enabled": True} for each in ("serviceMonitor", "rules", "dashboard")}
}
KEDA: Values = {
    "scaling": {"mode": "keda", "prometheus": "http://prometheus-operated.monitoring:9090"}
}
MORE: Mapping[str, Values] = {"scaling": KEDA, "monitoring": MONITORING}


class Refused(Exception):
    """Helm did not render; the argument is what it said."""


def tool(name: str) -> Path:
    """Return a program of the chart's own environment, or skip the test."""
    found = TOOLS / name
    if not found.exists():
        pytest.skip(f"needs {name}: make chart")
    return found


def values() -> dict[str, object]:
    """Return the values of what is committed."""
    read: dict[str, object] = yaml.safe_load((FOLDER / "values.yaml").read_text())
    return read


def render(given: Values, *said: str) -> Mapping[str, str]:
    """Render the chart; returns each template's text by its name. Raises `Refused`.

    `said` is what `--set` would say, of other values than those given.
    """
    ran = subprocess.run(
        [tool("python"), PROGRAMS / "render.py", CHART, *said],
        input=json.dumps(given), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode:
        raise Refused(ran.stderr)
    found: dict[str, str] = json.loads(ran.stdout)
    return {Path(path).stem: text for path, text in found.items() if not path.endswith(".tpl")}


def documents(texts: Sequence[str]) -> list[Document]:
    """Read the manifests of some files."""
    return [
        document
        for text in texts
        for document in yaml.load_all(text, Loader=yaml.CSafeLoader)
        if document
    ]


def manifests(given: Values, *said: str) -> list[Document]:
    """Render the chart, and read its manifests."""
    return documents([text for name, text in render(given, *said).items() if name != "NOTES"])


def committed() -> dict[str, str]:
    """Return the committed files by their names."""
    return {each.stem: each.read_text() for each in FOLDER.glob("*.yaml")}


def written() -> dict[str, str]:
    """Render what is to be committed."""
    by = "# Rendered from deploy/chart with values.yaml by `make chart RENEW=1`: change those."
    said = f"{by}\n# {digest()}\n"
    base = render(values())
    files = {name: base[name] for name in BASE}
    files |= {name: render(values() | more)[name] for name, more in MORE.items()}
    return {name: said + "\n".join(_lines(text)) + "\n" for name, text in files.items()}


def digest() -> str:
    """Return a hash of all that rendering depends on, so that a stale file is known without Helm."""
    files = sorted(each for each in CHART.rglob("*") if each.is_file())
    parts = [f"{each.relative_to(CHART)}\n{each.read_text()}" for each in files]
    given = (FOLDER / "values.yaml").read_text()
    whole = "\n".join([*parts, given])
    return f"sha256:{sha256(whole.encode()).hexdigest()}"


def _lines(text: str) -> Iterator[str]:
    """Drop blank lines and blanks at the end of others: templates leave them."""
    for line in text.splitlines():
        if line.strip():
            yield line.rstrip()
