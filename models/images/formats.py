"""Image formats: what the first bytes say, and whether the last ones arrived.

Nothing is decoded here: a decoder is a large target for hostile bytes, and reading a few lengths
is not. Bytes after the end of an image are allowed: cameras and signers append their own.
"""

import struct
from mmap import mmap

_PNG_END = b"IEND\xaeB`\x82"  # the type and the CRC of the one chunk that ends every PNG
_SEGMENTS_MAX = 10_000  # a JPEG has a few dozen before its first scan
_ALONE = {0x01, *range(0xD0, 0xD8)}  # JPEG markers without a length: TEM and RST0-7
_MARKER, _SOS, _EOI = 0xFF, 0xDA, b"\xff\xd9"


def sniff(head: bytes) -> str | None:
    """Return the content type that the first 12 bytes or more announce; None for no image that we know."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "image/tiff"
    # Two letters are weak evidence; four reserved bytes, zero in every BMP, make them enough.
    return "image/bmp" if head[:2] == b"BM" and head[6:10] == bytes(4) else None


def complete(content_type: str, image: bytes | mmap) -> bool:
    """Return whether an image that `sniff` called `content_type` has its end."""
    match content_type:
        case "image/jpeg":
            return _jpeg_ends(image)
        case "image/png":
            return image.rfind(_PNG_END) > 0
        case "image/webp":  # RIFF counts what follows its first 8 bytes
            return _number("<I", image, 4) + 8 <= len(image)
        case "image/gif":
            return image[-64:].rstrip(b"\0").endswith(b";")
        case "image/bmp":
            return _number("<I", image, 2) <= len(image)
        case _:  # TIFF may keep its parts in any order; its directory must at least be there
            order = "<I" if image[:2] == b"II" else ">I"
            return _number(order, image, 4) < len(image)


def _jpeg_ends(image: bytes | mmap) -> bool:
    """Walk the segments to the first scan, then look for the end marker.

    The walk steps over the thumbnail in the metadata, which has an end marker of its own. Inside a
    scan 0xFF is always followed by 0x00 or a restart marker (ITU T.81, B.1.1.5).
    """
    at = 2
    for _ in range(_SEGMENTS_MAX):
        if at + 4 > len(image) or image[at] != _MARKER:
            return False
        marker = image[at + 1]
        if marker == _SOS:
            return image.find(_EOI, at) > 0
        if marker == _MARKER:
            at += 1  # a fill byte
        elif marker in _ALONE:
            at += 2
        else:
            at += 2 + _number(">H", image, at + 2)
    return False


def _number(layout: str, image: bytes | mmap, at: int) -> int:
    """Read one unsigned number; one larger than any image when the bytes end before it."""
    try:
        return int(struct.unpack_from(layout, image, at)[0])
    except struct.error:
        return 1 << 63
