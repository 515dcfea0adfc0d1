"""JPEGs without their end marker: whether the marker is all that is missing.

Every viewer shows such a file, but also one of which half is missing: decoders fill the rest with grey, and
report nothing. A picture is complete when all of its scans are there, whatever follows them.
"""

from collections.abc import Callable, Iterator
from hashlib import shake_128

from models.images.decoding.bare import JPEG

_EOI, _SOS = b"\xff\xd9", b"\xff\xda"
_SCAN, _FILL = 0xDA, 0xFF
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # ITU T.81, table B.1
_INSIDE = {0x00, *range(0xD0, 0xD8)}  # what follows 0xFF within a scan: stuffing, RST0-7
_COEFFICIENTS = 64
# Other pixels, between all marks at which a decoder goes on. One that waits for RST6 takes RST0 for the
# picture's next but one, and leaves it; so they begin at RST0 as well as at RST4.
_PIXELS = shake_128(b"").digest(64).replace(b"\xff", b"")
_MARKED = [_PIXELS + bytes((0xFF, 0xD0 + n)) for n in range(8)]
_MORE = [b"".join(marked) + _EOI for marked in (_MARKED, _MARKED[4:] + _MARKED[:4])]


def ended(image: bytes, drawn: Callable[[bytes], bytes]) -> bytes:
    """Return a picture with an end: a JPEG gets one if that is all that it lacks.

    `drawn` returns the pixels of a JPEG, or their hash. Raises `ValueError` when some of them are missing.
    """
    if not image.startswith(JPEG) or image.find(_EOI, image.find(_SOS)) > 0:
        return image
    body = image.rstrip(b"\xff")
    if _has_all_scans(body):
        pixels = drawn(body + _EOI)
        if all(drawn(body + more) == pixels for more in _MORE):
            return body + _EOI
    raise ValueError("the file ends before its last pixels: it is truncated")


def _has_all_scans(image: bytes) -> bool:
    """Return whether each coefficient of each component has a scan to its last bit."""
    missing = None
    for marker, at in _segments(image):
        if marker in _FRAMES:
            missing = {(name, n) for name in image[at + 10 : at + 10 + 3 * image[at + 9] : 3]
                       for n in range(_COEFFICIENTS)}  # fmt: skip
        elif missing is not None:
            end = at + 5 + 2 * image[at + 4]
            first, last, bits = image[end : end + 3]
            if not bits & 15:
                missing -= {
                    (name, n) for name in image[at + 5 : end : 2] for n in range(first, last + 1)
                }
    return missing == set()


def _segments(image: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and place of each frame and scan that came whole."""
    at = 2
    while (at := image.find(b"\xff", at)) >= 0 and at + 4 <= len(image):
        marker = image[at + 1]
        if marker in _INSIDE or marker == _FILL:
            at += 1 if marker == _FILL else 2
            continue
        end = at + 2 + int.from_bytes(image[at + 2 : at + 4])
        if end <= len(image) and (marker == _SCAN or marker in _FRAMES):
            yield marker, at
        at = end
