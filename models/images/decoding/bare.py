"""Pictures without their metadata.

Profiles, texts and comments may be far larger than they look (a chunk of 48 kB inflates to 48 MB), and are
damaged more often than the pixels. A decoder does not need them: what is left of a PNG, JPEG or WebP
decodes to the same pixels. Nothing is decoded here; lengths are read, and checksums are compared.
"""

import struct
import zlib

PNG, JPEG, GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8"
RIFF, WEBP = b"RIFF", b"WEBP"
_IEND, _DRAWN = b"IEND", {b"tRNS", b"eXIf"}
_ANCILLARY = 0x20  # of a PNG chunk's first letter: a decoder may do without it (PNG, 5.4)
_ADOBE, _JFIF = (0xEE, b"Adobe", 14), (0xE0, b"JFIF\0", 16)  # they tell how colours are to be read
_EXIF_SEGMENT = (0xE1, b"Exif\0\0", 16)
_METADATA = {*range(0xE0, 0xF0), 0xFE}  # the markers of applications' segments and of comments
_ALONE = {0x00, 0x01, *range(0xD0, 0xD9)}  # what has no length: stuffing, TEM, RST0-7, another SOI
_SEGMENTS_MAX = 100_000  # a JPEG has a few dozen before its picture; 64 MiB hold 16 million
_SOS, _EOI, _FILL = 0xDA, 0xD9, 0xFF
_PICTURE = {
    b"VP8X",
    b"VP8 ",
    b"VP8L",
    b"ALPH",
    b"ANIM",
    b"ANMF",
}  # the chunks that pixels are made of
_TRAILER, _IMAGE, _EXTENSION = 0x3B, 0x2C, 0x21  # what a block of a GIF begins with


def bare(image: bytes, *, whole: bool = False, drawn: bool = False) -> bytes:
    """Return an image that decodes to the same pixels: a PNG or JPEG without its metadata.

    With `whole`, raises `ValueError` for a PNG, JPEG or GIF that has no end, and for a PNG whose sums
    are wrong where it matters; without it, what is there is taken, also of a WebP whose length is wrong.
    With `drawn`, what tells transparency and orientation stays.
    """
    if image.startswith(PNG):
        return _png(image, whole=whole, drawn=drawn)
    if image.startswith(JPEG):
        return _jpeg(image, whole=whole, drawn=drawn)
    if whole and image.startswith(GIF):
        _walk_gif(image)
    if not whole and image.startswith(RIFF) and image[8:12] == WEBP:
        return _webp(image, drawn=drawn)
    return image


def _png(image: bytes, *, whole: bool, drawn: bool) -> bytes:
    view, at, kind = memoryview(image), len(PNG), b""
    kept: list[bytes | memoryview] = [PNG]
    while kind != _IEND:
        if at + 12 > len(image):
            break
        length, kind = struct.unpack_from(">I4s", image, at)
        end = at + 12 + length
        if end > len(image):
            kept.append(image[at:])  # the rest of the pixels, perhaps
            break
        told = int.from_bytes(view[end - 4 : end])
        ancillary = kind[0] & _ANCILLARY
        if not ancillary or (drawn and kind in _DRAWN):
            found = zlib.crc32(view[at + 4 : end - 4])
            if found != told and not ancillary and whole:
                raise ValueError(f"the checksum of its {kind.decode('latin-1')} is wrong")
            if found == told or not ancillary:
                kept += [view[at : end - 4], found.to_bytes(4)]
        at = end
    if whole and kind != _IEND:
        raise ValueError("the file ends before its end")
    return b"".join(kept)


def _jpeg(image: bytes, *, whole: bool, drawn: bool) -> bytes:
    needed = (_ADOBE, _JFIF, _EXIF_SEGMENT) if drawn else (_ADOBE, _JFIF)
    view, at = memoryview(image), 2
    kept: list[bytes | memoryview] = [view[:2]]
    for _ in range(_SEGMENTS_MAX):
        at = image.find(b"\xff", at)
        if at < 0 or at + 4 > len(image):
            raise ValueError("the file ends before its picture begins")
        marker = image[at + 1]
        if marker == _FILL or marker in _ALONE:
            at += 1 if marker == _FILL else 2
            continue
        if marker in {_SOS, _EOI}:
            # A decoder that has all pixels need not look for it; pixels never look like it (T.81, B.1.1.5).
            if whole and image.find(b"\xff\xd9", at) < 0:
                raise ValueError("the file ends before its end")
            kept.append(view[at:])
            return b"".join(kept)
        end = at + 2 + int.from_bytes(view[at + 2 : at + 4])
        if marker not in _METADATA or any(
            marker == each and image.startswith(name, at + 4) and end - at >= least
            for each, name, least in needed
        ):
            kept.append(view[at:end])
        at = max(end, at + 4)
    raise ValueError(f"more than {_SEGMENTS_MAX:,} segments stand before its picture")


def _webp(image: bytes, *, drawn: bool) -> bytes:
    """Keep the chunks that came; a decoder believes the length that the file tells of itself."""
    kinds = _PICTURE | {b"EXIF"} if drawn else _PICTURE
    view, at, kept = memoryview(image), 12, list[bytes | memoryview]()
    while at + 8 <= len(image):
        kind, length = struct.unpack_from("<4sI", image, at)
        end = at + 8 + length
        if kind in kinds and (end <= len(image) or kind in _PICTURE):
            kept += [view[at:end], bytes(length % 2)]
        at = end + length % 2
    body = b"".join(kept)
    return RIFF + struct.pack("<I", len(body) + len(WEBP)) + WEBP + body


def _walk_gif(image: bytes) -> None:
    """Go from block to block up to the trailer; raises `ValueError` when the file ends before."""
    try:
        at = 13 + _colours(image, 10)
        while (block := image[at]) != _TRAILER:
            if block not in {_IMAGE, _EXTENSION}:
                at += 1  # no block begins so; decoders look on
                continue
            # An extension has a kind; an image its place, perhaps its colours, and how it is packed.
            at += 2 if block == _EXTENSION else 11 + _colours(image, at + 9)
            while image[at]:
                at += 1 + image[at]
            at += 1
    except IndexError:
        raise ValueError("the file ends before its end") from None


def _colours(image: bytes, at: int) -> int:
    """Return the bytes of the table of colours that the flags at this place announce."""
    return 3 << ((image[at] & 7) + 1) if image[at] & 0x80 else 0
