"""JSON to the letter (RFC 8259): each name once in its object, no NaN, in UTF-8."""

import json
from math import isfinite
from typing import NoReturn

from models.errors import MalformedBody
from models.platform.wording import shown


def parse(body: bytes, what: str = "body") -> object:
    """Read JSON (RFC 8259) in UTF-8, with each name once in its object; raises `MalformedBody`.

    `what` it is is how a refusal calls it.
    """
    try:
        return DECODER.decode(body.decode())
    except json.JSONDecodeError as wrong:
        place = f"line {wrong.lineno} column {wrong.colno}"
        raise MalformedBody(f"The {what} is not valid JSON: {wrong.msg} at {place}.") from None
    except UnicodeDecodeError as wrong:
        raise MalformedBody(f"The {what} is not UTF-8: see its byte {wrong.start}.") from None
    except RecursionError:
        raise MalformedBody(f"The {what} is nested too deeply; no field needs it.") from None
    except ValueError:  # Python refuses to read integers of over 4,300 digits
        raise MalformedBody(f"A number in the {what} has too many digits.") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object. Of a name that came twice nobody knows which value was meant."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise MalformedBody(f"The field {shown(twice)} stands twice in its object; keep one.")
    names_ = "".join(made)
    if not names_.isascii() and not all(map(_is_unicode, made)):
        raise MalformedBody("The name of a field has half of a surrogate pair; remove it.")
    return made


def _is_unicode(text: str) -> bool:
    return text.encode(errors="replace").decode() == text


def _number(written: str) -> float:
    number = float(written)
    return number if isfinite(number) else _no_number(written)


def _no_number(written: str) -> NoReturn:
    raise MalformedBody(f"{shown(written)} is no number that JSON can say.")


DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_number, parse_float=_number
)
