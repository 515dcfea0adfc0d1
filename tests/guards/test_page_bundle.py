"""The page's bundle is made of the sources that are there: by hashes, so that nobody needs Node for it."""

import gzip
from hashlib import sha256
from pathlib import Path

PAGE = Path(__file__).parents[2] / "api" / "page"
SIZE_MAX = 60 * 1024  # bytes of all files together, compressed
SERVED = ("app.css", "app.js", "index.html")


def recorded() -> dict[str, str]:
    """Read which file had which hash when the bundle was made."""
    lines = (PAGE / "dist" / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def test_the_bundle_is_made_of_the_present_sources() -> None:
    sources = ["build.mjs", "package.json", "package-lock.json", "tsconfig.json"]
    sources += [
        str(each.relative_to(PAGE))
        for each in (PAGE / "src").rglob("*")
        if each.is_file() and each.name != "openapi.d.ts"
    ]
    present = [*sources, *(f"dist/{name}" for name in SERVED)]
    hashes = {name: sha256((PAGE / name).read_bytes()).hexdigest() for name in present}
    assert hashes == recorded(), "after a change of api/page: make page"


def test_the_bundle_is_small() -> None:
    packed = sum(len(gzip.compress((PAGE / "dist" / name).read_bytes())) for name in SERVED)
    assert packed <= SIZE_MAX


def test_the_bundle_makes_no_html_and_keeps_nothing_in_the_browser() -> None:
    script = (PAGE / "dist" / "app.js").read_text()
    for word in ("localStorage", "sessionStorage", "indexedDB", "document.cookie", "eval("):
        assert word not in script, word
    assert "innerHTML" not in "".join(each.read_text() for each in (PAGE / "src").rglob("*.tsx"))


def test_the_lock_names_no_registry() -> None:
    assert '"resolved"' not in (PAGE / "package-lock.json").read_text()
