"""URLs as others write them: what a browser would make of one that is not quite well formed."""

import re
import unicodedata
from urllib.parse import unquote

LONGEST = 16_384  # characters; signed URLs with a session's token were seen beyond 4,000

# Dropped wherever they stand (https://url.spec.whatwg.org).
_BETWEEN = str.maketrans("", "", "\t\r\n")
_AROUND = " \"'<>\0\v\f\x1c\x1d\x1e\x1f\x85\xa0\u200b\ufeff"
# Out of HTML or JSON.
_AMPERSAND = re.compile(r"&(?:(?:amp|#0*38|#x0*26);)+|\\u0026", re.IGNORECASE)
_WRITTEN_OUT = re.compile(r"https?%3A%2F%2F", re.IGNORECASE)
_PARTS = re.compile(r"(https?)://([^/?#\s]+)([^?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_BYTES = range(0xDC80, 0xDD00)  # where `surrogateescape` puts bytes that are no UTF-8


def tidy(text: str) -> str | None:
    """Return the http or https URL that was meant, or None when it is none, or over `LONGEST`.

    Spaces around it, line breaks, escapes of HTML and JSON, and a scheme in capitals or left out before
    `//` are mended, and what may not stand in a path or query is percent-encoded. The host is left as it
    is: that is judged at the moment of connecting.
    """
    found = clean(text[: 2 * LONGEST])
    if _WRITTEN_OUT.match(found):
        found = unquote(found)
    parts = _PARTS.fullmatch(f"https:{found}" if found.startswith("//") else found)
    if parts is None or not parts[2].isprintable():
        return None
    path, rest = _escape(parts[3].replace("\\", "/")), _escape(parts[4])
    url = f"{parts[1].lower()}://{parts[2]}{path}{rest}"
    return url if len(url) <= LONGEST else None


def clean(text: str) -> str:
    """Return a URL, or a reference to one, without what is around it, line breaks and others' escapes."""
    return _AMPERSAND.sub("&", text.translate(_BETWEEN).strip(_AROUND).replace("\\/", "/"))


def _escape(text: str) -> str:
    return "".join(map(_letter, text))


def _letter(letter: str) -> str:
    code = ord(letter)
    if code in _BYTES:
        return f"%{code - 0xDC00:02X}"
    unseen = letter.isspace() or unicodedata.category(letter) in {"Cc", "Cf", "Cs"}
    if not unseen and letter not in '\\"<>^`{|}':
        return letter
    return "".join(f"%{byte:02X}" for byte in letter.encode(errors="replace"))
