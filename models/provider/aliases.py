"""Names under which clients know a model: those of a project, and those that clients bring along.

`gpt-image-1` and `dall-e-3` stand in the code and menus of clients that cannot be changed. One that asks
for `gpt-image-…` reads only `b64_json` and does not ask for it: OpenAI's own never had a URL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.errors import InvalidRequest
from models.platform.wording import shown
from models.provider import catalog

ResponseFormat = Literal["url", "b64_json"]

_EMBEDDED = "gpt-image"
_LINKED = "dall-e"
_NAME_MAX = 128


@dataclass(frozen=True, slots=True)
class Alias:
    """A model's id, what its image is sent as unless a call says so, and whether small sizes grow."""

    model: str
    response_format: ResponseFormat = "url"
    scale: bool = True

    def dump(self) -> dict[str, object]:
        """Return what `load` reads, as a project keeps it."""
        return {
            "model": self.model, "response_format": self.response_format, "scale": self.scale
        }  # fmt: skip


def find(name: str, own: Mapping[str, object]) -> Alias | None:
    """Look a name up: a project's own first, then those that everybody has; None for any other."""
    found = own.get(name)
    if isinstance(found, dict):
        embedded = found.get("response_format") == "b64_json"
        format_: ResponseFormat = "b64_json" if embedded else "url"
        return Alias(str(found.get("model")), format_, scale=found.get("scale") is True)
    default = catalog.models()[0].id
    if name.startswith(_EMBEDDED):
        return Alias(default, "b64_json")
    return Alias(default) if name.startswith(_LINKED) else None


def judge(name: str, alias: Alias) -> None:
    """Raise `InvalidRequest` for an alias that would hide a model, or lead to none."""
    if catalog.find(alias.model) is None:
        raise InvalidRequest(catalog.no_such_model(alias.model))
    if catalog.find(name) is not None:
        raise InvalidRequest(f"{shown(name)} is a model itself; give the alias another name.")
    if not name.isprintable() or not 1 <= len(name) <= _NAME_MAX or name != name.strip():
        raise InvalidRequest(
            f"{shown(name)} is no name; use 1 to {_NAME_MAX} printable characters."
        )
