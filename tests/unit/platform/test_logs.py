"""Whatever a process says is one JSON object a line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from models.platform.logs import without_secrets

ROOT = Path(__file__).parents[3]
PRELUDE = "import structlog; from models.platform import logs; logs.configure('tests', 'INFO')\n"


def lines_of(code: str) -> list[dict[str, object]]:
    """Run a process that logs; return its lines, each of which must be strict JSON."""
    said = subprocess.run(
        (sys.executable, "-c", PRELUDE + code),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout
    return [json.loads(line, parse_constant=pytest.fail) for line in said.splitlines()]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("float('inf')", "inf"),
        ("-float('inf')", "-inf"),
        ("float('nan')", "nan"),
        ("[1.5, {'deep': (float('nan'), 2)}]", [1.5, {"deep": ["nan", 2]}]),
        ("1.5", 1.5),
    ],
)
def test_a_number_that_json_has_no_word_for_is_text(value: str, written: object) -> None:
    (line,) = lines_of(f"structlog.get_logger().info('said', value={value})")
    assert line["value"] == written


@pytest.mark.parametrize(
    ("said", "written"),
    [
        (f"dr_live_{'a' * 12}_{'b' * 47}", "[secret]"),
        (f"dr_live_{'a' * 12}_{'b' * 3}", "[secret]"),  # cut off, it is still a part of one
        (f"'dr_live_{'a' * 12}_{'b' * 47}'!", "'[secret]'!"),
        (f"dr_live_{'a' * 12}__", "[secret]"),
        (f"dr_live_{'b' * 47}", "[secret]"),  # what lost its id, or never had one
        (f"dr_live_{'a' * 12}_…", f"dr_live_{'a' * 12}_…"),
        (f"key dr_live_{'a' * 12}_ ended", f"key dr_live_{'a' * 12}_ ended"),
        ("whsec_c2VjcmV0", "[secret]"),
        ("Bearer anything", "[secret]"),
    ],
)
def test_a_key_is_left_out_of_a_text_and_what_it_is_known_by_is_not(
    said: str, written: str
) -> None:
    assert without_secrets(said) == written


def test_warnings_and_what_ends_a_thread_or_the_process_are_log_lines() -> None:
    lines = lines_of(
        "import threading, warnings\n"
        "warnings.warn('old')\n"
        "thread = threading.Thread(target=lambda: 1 / 0)\n"
        "thread.start()\n"
        "thread.join()\n"
        "[][1]"
    )
    assert [line["level"] for line in lines] == ["warning", "critical", "critical"]
    assert [line["event"] for line in lines[1:]] == ["thread.failed", "process.failed"]
    assert "ZeroDivisionError" in str(lines[1]["exception"])
    assert "IndexError" in str(lines[2]["exception"])


def test_a_line_that_the_disk_has_no_room_for_stops_nothing() -> None:
    code = "import sys; structlog.get_logger().error('lost'); print('alive', file=sys.stderr)"
    with Path("/dev/full").open("w") as full:
        said = subprocess.run(
            (sys.executable, "-c", PRELUDE + code),
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        ).stderr
    assert said.startswith("alive")
