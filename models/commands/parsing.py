"""The command line: every command, from every file of this wing, and who runs it."""

import os
import pwd
from argparse import ArgumentParser

from models.audit_log.actors import Actor
from models.commands import schema


def parser(command: str = "") -> ArgumentParser:
    """Return the parser; it parses to `run`, a command on the database, or `prints`, one without it.

    It knows every command, unless one is asked for that needs nothing of the domain.
    """
    made = ArgumentParser(prog="python -m models", description="Darkroom, for its operator.")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    schema.add_to(commands)
    if command not in commands.choices:
        # Here, because loading the domain takes longer than what `migrate` does.
        from models.commands import (  # noqa: PLC0415
            actions,
            charges,
            plane,
            projects,
            provider,
            upkeep,
        )

        for each in (upkeep, projects, actions, charges, provider, plane):
            each.add_to(commands)
    return made


def actor() -> Actor:
    """Return who runs a command: the user that the system knows, on which machine."""
    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user has no name, as a rule
        user = f"uid {uid}"
    return Actor("command", name=f"{user}@{os.uname().nodename}")
