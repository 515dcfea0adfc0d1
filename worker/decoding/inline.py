"""Images inside of JSON: base 64 as it is really written."""

import re
from base64 import b64decode
from urllib.parse import unquote_to_bytes

from models.images import formats

# `data:image/png;base64,`, also without its first word, and with parameters in between.
_PREFIX = re.compile(r"\s*[\"']?(?:data:)?[^,]{0,100}?;\s*base64\s*,", re.IGNORECASE)
_HEAD = 256  # characters that tell whether an image begins
_ALPHABET = bytes.maketrans(b"-_", b"+/")
_LEFT_OUT = b" \t\r\n\f\v\"'"
_GROUP = 4  # letters, for three bytes


def decode(text: str) -> bytes | None:
    """Return the bytes that were meant, or None when they are not base 64.

    A `data:` prefix, line breaks (written out too), spaces, quotes, percent signs, the alphabet for
    URLs, and padding that is missing or too long are overlooked: the money is spent, and whether it is an
    image is seen by decoding that.
    """
    prefix = _PREFIX.match(text)
    letters = text[prefix.end() if prefix else 0 :].encode("ascii", "replace")
    if b"%" in letters:
        letters = unquote_to_bytes(letters)
    if b"\\" in letters:
        letters = letters.replace(b"\\n", b"").replace(b"\\r", b"").replace(b"\\", b"")
    pieces = letters.strip(_LEFT_OUT).split(b" ")
    if b"+" not in letters and _were_pluses(pieces):
        letters = b"+".join(pieces)
    letters = letters.translate(_ALPHABET, _LEFT_OUT).rstrip(b"=")
    if len(letters) % _GROUP == 1:  # six bits are no byte
        letters = letters[:-1]
    try:
        return b64decode(letters + b"=" * (-len(letters) % _GROUP), validate=True)
    except ValueError:
        return None


def is_image(text: str) -> bool:
    """Return whether an image begins here."""
    head = decode(text[:_HEAD])
    return head is not None and formats.sniff(head) is not None


def _were_pluses(pieces: list[bytes]) -> bool:
    """Return whether spaces are what a form has made of `+`: who breaks lines with them, does it evenly."""
    return len({len(each) for each in pieces[:-1]}) > 1
