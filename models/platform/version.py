"""The version of this code: `pyproject.toml` states it, a guard holds the two equal."""

VERSION = "0.1.0"
