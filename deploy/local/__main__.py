"""`python -m deploy.local up` runs everything until Ctrl-C; `demo` runs the main job and ends."""

import argparse
import signal
import sys
from types import FrameType

from deploy.local import stack
from deploy.local.screen import Screen
from deploy.local.supervisor import KeepsDyingError
from models.errors import Misconfigured
from models.settings import load_local

_INTERRUPTED = 130  # 128 + SIGINT, as a shell says it


def main() -> int:
    """Run the command; 0 when the main job went well, 2 when the stack cannot start as it is."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("command", choices=("up", "demo"))
    stay = parser.parse_args().command == "up"
    for caught in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(caught) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(caught, _interrupt)
    try:
        return 0 if stack.run(load_local(), Screen(), stay=stay) else 1
    except Misconfigured as refused:
        print(f"darkroom: {refused}", file=sys.stderr)  # the one line for a person
        return 2
    except KeepsDyingError as refused:
        print(f"darkroom: {refused}", file=sys.stderr)  # the same
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
