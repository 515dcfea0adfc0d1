"""The version of this code: the one place where it stands."""

VERSION = "0.1.0"
