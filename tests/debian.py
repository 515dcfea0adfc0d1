"""Where Debian's packages put the servers; a test of what is not installed is skipped, and says so."""

import shutil
from pathlib import Path

import pytest

_PLACES = "/usr/sbin:/usr/bin:/usr/local/bin"


def program(name: str, package: str, *places: Path) -> Path:
    """Return the path of a program, or skip the test and say which package has it."""
    found = shutil.which(name, path=":".join([*(str(each) for each in places), _PLACES]))
    if found is None:
        pytest.skip(f"needs {name}: apt-get install {package}")
    return Path(found)


def postgres_programs() -> Path:
    """Return the folder of the newest PostgreSQL's programs, or skip the test."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda at: int(at.parent.name))
    return program("postgres", "postgresql", *reversed(versions)).parent
