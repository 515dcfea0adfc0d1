"""How settings are read from an environment: secrets in files, mistyped names, refused values.

Pure: the caller has read the environment, which only `models/settings/loading.py` does.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from models.errors import Misconfigured

Kind = type[BaseSettings]

_OURS = "DARKROOM_"
_FILE = "_FILE"
# What Kubernetes puts into each pod for a Service whose name begins with `darkroom`
# (kubernetes.io, "Accessing the Service: environment variables").
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?$")
_LINKED = re.compile(r"(tcp|udp|sctp)://")


def variables(kind: Kind) -> dict[str, str]:
    """Return the variable that each field is read from, by the field's name."""
    return {
        name: str(field.validation_alias or f"{_OURS}{name.upper()}")
        for name, field in kind.model_fields.items()
    }


def names(*kinds: Kind) -> set[str]:
    """Return every variable that these settings are read from, with those that name files."""
    plain = {variable for kind in kinds for variable in variables(kind).values()}
    return plain | {variable + _FILE for kind in kinds for _, variable in _secrets(kind)}


def from_files(kind: Kind, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets that `NAME_FILE` says to read from files, by field.

    The line break at a file's end is no part of the secret. Raises `Misconfigured` when a file cannot
    be read, or when `NAME` is set as well.
    """
    found: dict[str, str] = {}
    for name, variable in _secrets(kind):
        path = environment.get(variable + _FILE)
        if not path:
            continue
        if environment.get(variable):
            raise Misconfigured(f"{variable} and {variable}{_FILE} are both set: set one of them")
        try:
            found[name] = Path(path).read_text().removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as unreadable:
            why = getattr(unreadable, "strerror", None) or "it is not text"
            raise Misconfigured(
                f"{variable}{_FILE}: {path!r} cannot be read ({why})"
            ) from unreadable
    return found


def refuse_unknown(
    environment: Mapping[str, str], known: Sequence[Kind], elsewhere: Sequence[Kind] = ()
) -> None:
    """Raise `Misconfigured` for each name like ours that would do nothing, or not what it says.

    That is a `DARKROOM_…` name that none of the `known` settings has, and any of their names that is not
    in capitals: pydantic would read it, beside the right one, and the order would decide between the two.
    `elsewhere` are the settings that only other programs of ours read.
    """
    here, there = names(*known), names(*elsewhere)
    wrong = sorted(
        name
        for name in environment
        if name not in here
        and (name.upper().startswith(_OURS) or name.upper() in here)
        and not _SERVICE_LINK.search(name)
    )
    if wrong:
        raise Misconfigured("; ".join(f"{name}: {_mistake(name, here, there)}" for name in wrong))


def explain(refused: ValidationError, kind: Kind, environment: Mapping[str, str]) -> str:
    """Return in one line which variables were refused and why, without repeating a value."""
    named = variables(kind)
    said = []
    for error in refused.errors(include_input=False):
        name = named.get(str(error["loc"][0]), str(error["loc"][0]))
        why = (
            "not set" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
        )
        if _LINKED.match(environment.get(name, "")):
            why = "Kubernetes set it for a Service of this name: set enableServiceLinks to false"
        said.append(f"{name}: {why}")
    return "; ".join(said)


def _secrets(kind: Kind) -> Iterator[tuple[str, str]]:
    """Yield the fields that hold secrets, and their variables: those that no `repr` shows."""
    named = variables(kind)
    for name, field in kind.model_fields.items():
        if not field.repr or _hides(field.annotation):
            yield name, named[name]


def _hides(annotation: object) -> bool:
    return annotation is SecretStr or any(_hides(part) for part in get_args(annotation))


def _mistake(name: str, here: set[str], there: set[str]) -> str:
    if name.upper() in here:
        return f"names are in capitals: {name.upper()}"
    if name.upper() in there:
        return "only the local stack (`make up`) reads it; take it away"
    if name.upper().removesuffix(_FILE) in here:
        return f"only secrets are read from files; set {name.upper().removesuffix(_FILE)}"
    # Without the prefix, which makes everything alike.
    bare = {each.removeprefix(_OURS): each for each in sorted(here)}
    close = get_close_matches(name.upper().removeprefix(_OURS), bare, n=1)
    hint = f"did you mean {bare[close[0]]}?" if close else "take it away"
    return f"there is no such setting; {hint}"
