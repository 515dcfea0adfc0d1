"""The command line of a role, which takes none: its settings are environment variables."""

from argparse import ArgumentParser


def take_none(role: str, does: str) -> None:
    """Print a role's usage when `--help` asks for it, refuse anything else, and end; else go on."""
    ArgumentParser(
        prog=f"python -m {role}",
        description=does,
        epilog="It takes no arguments, and is configured by environment variables (docs/settings.md).",
    ).parse_args()
