"""What is left of an answer's JSON that was cut off: all that came whole.

Where it breaks off says nothing of what came before: an image's URL, or what the call cost.
"""

import json
import re
from itertools import islice

# A text, what structures others, or a text that never ends.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]|"', re.DOTALL)
_CLOSES = {"{": "}", "[": "]"}
_MOST = 10_000  # texts and brackets that are looked at; an answer has some dozens


def of(raw: bytes) -> object:
    """Return the object that these bytes begin, closed where they break off; None if they begin none.

    A text or number of which the end is missing is left out: a price of 91 may have become 91,000.
    """
    text = raw.decode(errors="replace").lstrip()
    if not text.startswith("{"):
        return None
    try:
        return json.loads(_closed(text), strict=False)
    except (ValueError, RecursionError):
        return None


def _closed(text: str) -> str:
    """Cut a text behind the last value that is surely whole, and close what is open there."""
    still_open, end, closing, before = list[str](), 0, "", ""
    for found in islice(_TOKEN.finditer(text), _MOST):
        sign = found[0]
        if sign == '"':
            break
        if sign in _CLOSES:
            still_open.append(_CLOSES[sign])
        elif sign in _CLOSES.values() and still_open.pop() != sign:
            break
        if sign == ",":
            end, closing = found.start(), _all(still_open)
        elif sign in "{}[]" or (len(sign) > 1 and _is_value(before, still_open)):
            end, closing = found.end(), _all(still_open)
        before = sign
        if not still_open:
            break
    return text[:end] + closing


def _is_value(before: str, still_open: list[str]) -> bool:
    return before == ":" or still_open[-1] == "]"


def _all(still_open: list[str]) -> str:
    return "".join(reversed(still_open))
