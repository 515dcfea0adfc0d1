"""What bodies and queries are made of: texts, moments, counts, and the strictness of a body."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

_NUMBER = re.compile(r"[-+]?[.0-9]*")  # Pydantic would take it for unix seconds
_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
_MAX_PAIRS, _MAX_NAME, _MAX_VALUE = 16, 64, 512


def _keepable(text: str) -> str:
    if _UNKEEPABLE.search(text):
        raise ValueError("it has a NUL, or half of a surrogate pair; remove it")
    return text


def _written(moment: object) -> object:
    if isinstance(moment, int | float) or (isinstance(moment, str) and _NUMBER.fullmatch(moment)):
        raise ValueError("write it by ISO 8601, such as 2026-11-22T10:00:00Z; a number is no time")
    return moment


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # Postgres would keep it, and nobody could read it back
        raise ValueError("it is not within the years 1 to 9999 of UTC") from None


def unique(words: list[str]) -> list[str]:
    """Keep the first of each word."""
    return list(dict.fromkeys(words))


Text = Annotated[str, AfterValidator(_keepable)]
Customer = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
Name = Annotated[Text, Field(min_length=1, max_length=_MAX_NAME)]
Value = Annotated[Text, Field(max_length=_MAX_VALUE)]
Tag = Annotated[Text, Field(min_length=1, max_length=128)]
Metadata = Annotated[dict[Name, Value], Field(max_length=_MAX_PAIRS)]
# In JSON a moment is a string: the one conversion that strictness must allow.
Moment = Annotated[
    AwareDatetime, BeforeValidator(_written), AfterValidator(_in_utc), Field(strict=False)
]
MaxAttempts = Annotated[int, Field(ge=1, le=10)]
MaxCost = Annotated[int, Field(ge=1, le=1 << 53)] | None


class Strict(BaseModel):
    """A body: no unknown fields, no silent conversions."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
