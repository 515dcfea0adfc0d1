"""What may not come in: names that say nothing, patches, sleeping threads, silence without a reason."""

import ast
import io
import re
import tokenize
from collections import Counter
from pathlib import Path

from tests.guards import sources

FILES = sources.files(*sources.ALL)
EMPTY_WORDS = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "service",
               "services", "misc"}  # fmt: skip
_EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
_SILENCE = re.compile(r"(type:\s*ignore|noqa|pyrefly:\s*ignore)(.*)")
_CODED = {
    "type": r"\[[a-z, -]+\]",
    "noqa": r":\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*",
    "pyre": r"\[[a-z, -]+\]",
}


def at(path: Path, line: int) -> str:
    """Write a place for people to find."""
    return f"{sources.name(path)}:{line}"


def test_modules_are_named_for_what_they_hold() -> None:
    words = {path: set(path.stem.lower().split("_")) for path in FILES}
    assert [str(path) for path, found in words.items() if found & EMPTY_WORDS] == []
    folders = {parent.name for path in FILES for parent in path.parents}
    assert folders & EMPTY_WORDS == set()


def test_no_two_files_of_tests_have_one_name() -> None:
    """Without an `__init__.py` pytest imports a file by its name alone, and refuses the second."""
    loose = [path for path in sources.files("tests") if not (path.parent / "__init__.py").exists()]
    names = Counter(path.name for path in loose if path.name.startswith("test_"))
    assert [name for name, count in names.items() if count > 1] == []


def test_nothing_is_patched() -> None:
    found = [
        at(path, node.lineno)
        for path in FILES
        for node in sources.found(path, "unittest", "mock")
        if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unittest"))
        or (isinstance(node, ast.Import) and any("mock" in each.name for each in node.names))
        or (isinstance(node, ast.Name) and node.id == "mocker")
    ]
    assert found == []


def test_no_thread_sleeps() -> None:
    found = [
        at(path, node.lineno)
        for path in FILES
        for node in sources.found(path, "sleep")
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep")
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "time"
            and any(each.name == "sleep" for each in node.names)
        )
    ]
    assert found == []


def test_an_event_in_the_log_is_a_noun_and_what_became_of_it() -> None:
    events = {
        node.args[0].value: at(path, node.lineno)
        for path in sources.files(*sources.CODE)
        for node in sources.found(path, "log.")
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).partition(".")[0] == "log"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"debug", "info", "warning", "error", "exception"}
    }
    assert len(events) > 50
    assert {each: where for each, where in events.items() if not _EVENT.fullmatch(each)} == {}


def test_whoever_silences_a_check_names_it() -> None:
    found = []
    for path in FILES:
        if not _SILENCE.search(sources.text(path)):
            continue
        for token in tokenize.generate_tokens(io.StringIO(sources.text(path)).readline):
            silence = _SILENCE.search(token.string) if token.type == tokenize.COMMENT else None
            if silence and not re.match(_CODED[silence[1][:4]], silence[2]):
                found.append(at(path, token.start[0]))
    assert found == []


def test_the_checks_of_this_file_can_fail() -> None:
    for bare in ("# type: ignore", "# noqa", "# noqa - a reason"):
        silence = _SILENCE.search(bare)
        assert silence is not None
        assert not re.match(_CODED[silence[1][:4]], silence[2])
    for coded in ("# type: ignore[misc] # a reason", "# noqa: S101 - a reason"):
        silence = _SILENCE.search(coded)
        assert silence is not None
        assert re.match(_CODED[silence[1][:4]], silence[2])
