"""Pictures as the world makes them: valid ones that are odd, and broken ones that look valid."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

from PIL import Image, TiffImagePlugin

_MIB = 1024 * 1024
_WORDS = b"a ComfyUI workflow " * (3 * _MIB // 19)  # which inflates beyond what Pillow takes
_NOTE = b"Comment\0who drew it"


def draw(
    kind: str, size: tuple[int, int] = (640, 480), mode: str = "RGB", **options: object
) -> bytes:
    """Draw noise, which compresses little, as a file of this kind."""
    out = BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(out, kind, **options)
    return out.getvalue()


def frames(kind: str) -> bytes:
    """Draw an animation of three pictures."""
    first, *rest = (Image.effect_noise((64, 48), n).convert("RGB") for n in (20, 40, 60))
    out = BytesIO()
    first.save(out, kind, save_all=True, append_images=rest)
    return out.getvalue()


def chunk(kind: bytes, body: bytes, *, wrong: bool = False) -> bytes:
    """Write a chunk of a PNG; with a checksum that is not its own if that is `wrong`."""
    told = zlib.crc32(kind + body) ^ wrong
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", told)


def png_with(*chunks: bytes, mode: str = "RGB") -> bytes:
    """Draw a PNG with these chunks behind its header."""
    drawn = draw("png", (64, 48), mode)
    return drawn[:33] + b"".join(chunks) + drawn[33:]


def segment(marker: int, body: bytes) -> bytes:
    """Write a segment of a JPEG, whatever its length is."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_with(*segments: bytes, mode: str = "RGB", **options: object) -> bytes:
    """Draw a JPEG with these segments behind its first bytes."""
    drawn = draw("jpeg", (64, 48), mode, **options)
    return drawn[:2] + b"".join(segments) + drawn[2:]


def webp_with(kind: bytes, body: bytes) -> bytes:
    """Draw a WebP with metadata: an `ICCP`, `EXIF` or `XMP ` chunk."""
    name = {b"ICCP": "icc_profile", b"EXIF": "exif", b"XMP ": "xmp"}[kind]
    options: dict[str, object] = {name: body}
    return draw("webp", (64, 48), "RGB", **options)


def png_claiming(width: int, height: int) -> bytes:
    """Make a PNG of a few bytes whose header announces any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff_with(tag: int, value: object, kind: int) -> bytes:
    """Draw a TIFF with one odd tag; `kind` is the tag's type."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[tag] = kind
    tags[tag] = value
    return draw("tiff", (64, 48), tiffinfo=tags)


def _interlaced() -> bytes:
    """Write a grey PNG of 16 x 16 pixels in the seven passes of Adam7."""
    passes = ((2, 2), (2, 2), (4, 2), (4, 4), (8, 4), (8, 8), (16, 8))
    rows = b"".join((b"\0" + bytes(width)) * height for width, height in passes)
    header = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 1)
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _deflated(words: bytes) -> bytes:
    return zlib.compress(words, 9)


PNG = b"\x89PNG\r\n\x1a\n"

ODD: dict[str, Callable[[], bytes]] = {
    "png: a profile that inflates to 3 MiB": lambda: png_with(
        chunk(b"iCCP", b"Display\0\0" + _deflated(_WORDS))
    ),
    "png: a profile packed in a way that there is not": lambda: png_with(
        chunk(b"iCCP", b"Display\0\7" + _deflated(b"x"))
    ),
    "png: a profile without a name's end": lambda: png_with(chunk(b"iCCP", b"Display")),
    "png: an iTXt that inflates to 3 MiB": lambda: png_with(
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + _deflated(_WORDS))
    ),
    "png: a zTXt that inflates to 3 MiB": lambda: png_with(
        chunk(b"zTXt", b"workflow\0\0" + _deflated(_WORDS))
    ),
    "png: a zTXt packed in a way that there is not": lambda: png_with(
        chunk(b"zTXt", b"workflow\0\5xx")
    ),
    "png: seventy texts of 1 MiB": lambda: png_with(
        *[chunk(b"zTXt", b"k%d\0\0" % n + _deflated(bytes(_MIB))) for n in range(70)]
    ),
    "png: a tEXt with a wrong checksum": lambda: png_with(chunk(b"tEXt", _NOTE, wrong=True)),
    "png: a private chunk with a wrong checksum": lambda: png_with(
        chunk(b"prVt", b"x", wrong=True)
    ),
    "png: a tRNS with a wrong checksum": lambda: png_with(chunk(b"tRNS", bytes(6), wrong=True)),
    "png: a tRNS that is too short": lambda: png_with(chunk(b"tRNS", b"\0")),
    "png: an eXIf of nonsense": lambda: png_with(chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff")),
    "png: a gAMA, a cHRM, a pHYs and an sRGB cut short": lambda: png_with(
        *[chunk(kind, b"") for kind in (b"gAMA", b"cHRM", b"pHYs", b"sRGB")]
    ),
    "png: an animation whose frames are out of order": lambda: png_with(
        chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", struct.pack(">I", 7) + bytes(22))
    ),
    "png: an acTL cut short": lambda: png_with(chunk(b"acTL", b"\0")),
    "png: texts behind the picture": lambda: (
        draw("png", (64, 48))[:-12]
        + chunk(b"zTXt", b"workflow\0\0" + _deflated(_WORDS))
        + chunk(b"IEND", b"")
    ),
    "png: bytes behind the end": lambda: draw("png", (64, 48)) + b"<?xpacket?>" * 9,
    "png: an animation": lambda: frames("png"),
    "png: 16 bits": lambda: draw("png", (64, 48), "I;16"),
    "png: interlaced": _interlaced,
    "png: a palette with alpha": lambda: draw("png", (64, 48), "P", transparency=bytes(range(200))),
    "png: grey with alpha": lambda: draw("png", (64, 48), "LA"),
    "png: one bit": lambda: draw("png", (64, 48), "1"),
    "jpeg: a JFIF segment cut short": lambda: jpeg_with(segment(0xE0, b"JFIF\0")),
    "jpeg: an Adobe segment cut short": lambda: jpeg_with(segment(0xEE, b"Adobe")),
    "jpeg: a profile without a number": lambda: jpeg_with(segment(0xE2, b"ICC_PROFILE\0")),
    "jpeg: an Exif of nonsense": lambda: jpeg_with(
        segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 400)
    ),
    "jpeg: a Photoshop block cut short": lambda: jpeg_with(
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04")
    ),
    "jpeg: several pictures announced, and one there": lambda: jpeg_with(
        segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\0\1\xb0\1\0\4\0\0\0\1\0\0\0\2\0\0\0\0")
    ),
    "jpeg: eight MiB of segments": lambda: jpeg_with(*[segment(0xE1, bytes(65_000))] * 129),
    "jpeg: junk between segments": lambda: jpeg_with(segment(0xFE, b"x"), b"junk\0", b"\xff\xff"),
    "jpeg: bytes behind the end": lambda: draw("jpeg", (64, 48)) + b"a maker's own trailer" * 9,
    "jpeg: several pictures": lambda: frames("mpo"),
    "jpeg: CMYK": lambda: draw("jpeg", (64, 48), "CMYK"),
    "jpeg: grey": lambda: draw("jpeg", (64, 48), "L"),
    "jpeg: progressive": lambda: draw("jpeg", (64, 48), progressive=True),
    "webp: an animation": lambda: frames("webp"),
    "webp: a profile of nonsense": lambda: webp_with(b"ICCP", b"nonsense" * 200_000),
    "webp: an Exif of nonsense": lambda: webp_with(b"EXIF", b"MM\0*\xff\xff\xff\xff"),
    "webp: an XMP of nonsense": lambda: webp_with(b"XMP ", b"\xff" * 1_000_000),
    "webp: bytes behind the end": lambda: draw("webp", (64, 48)) + b"junk" * 9,
    "gif: an animation": lambda: frames("gif"),
    "gif: bytes behind the end": lambda: draw("gif", (64, 48)) + b"junk" * 9,
    "gif: a comment of 3 MB": lambda: _commented(b"x" * 3_000_000),
    "bmp: 32 bits": lambda: draw("bmp", (64, 48), "RGBA"),
    "tiff: LZW": lambda: draw("tiff", (64, 48), compression="tiff_lzw"),
    "tiff: several pages": lambda: frames("tiff"),
    "tiff: a profile of nonsense": lambda: tiff_with(34675, b"nonsense", 7),
    "tiff: an unknown tag of a megabyte": lambda: tiff_with(65_000, b"x" * _MIB, 7),
    "tiff: a description that is not text": lambda: tiff_with(270, b"\xff\xfe\0\xff", 2),
}

_WHOLE = {
    "png": lambda: draw("png", (64, 48)),
    "jpeg": lambda: draw("jpeg", (64, 48)),
    "progressive jpeg": lambda: draw("jpeg", (64, 48), progressive=True),
    "webp": lambda: draw("webp", (64, 48)),
    "lossless webp": lambda: draw("webp", (64, 48), lossless=True),
    "gif": lambda: draw("gif", (64, 48)),
    "animated gif": lambda: frames("gif"),
    "bmp": lambda: draw("bmp", (64, 48)),
    "tiff": lambda: draw("tiff", (64, 48)),
    "packed tiff": lambda: draw("tiff", (64, 48), compression="tiff_lzw"),
}


def _cut(make: Callable[[], bytes], left: float) -> Callable[[], bytes]:
    return lambda: (whole := make())[: int(len(whole) * left) if left else -1]


def _commented(comment: bytes) -> bytes:
    out = BytesIO()
    Image.new("P", (64, 48)).save(out, "gif")
    blocks = b"".join(
        bytes([len(part)]) + part
        for part in (comment[n : n + 255] for n in range(0, len(comment), 255))
    )
    at = out.getvalue().index(b",")  # the first picture
    return out.getvalue()[:at] + b"!\xfe" + blocks + b"\0" + out.getvalue()[at:]


def _pixels_damaged() -> bytes:
    drawn = draw("png", (64, 48))
    at = drawn.index(b"IDAT") + 4
    length = int.from_bytes(drawn[at - 8 : at - 4])
    return drawn[: at + length] + b"\0\0\0\0" + drawn[at + length + 4 :]


BROKEN: dict[str, Callable[[], bytes]] = {
    **{f"{kind}: a half": _cut(make, 0.5) for kind, make in _WHOLE.items()},
    **{f"{kind}: nine tenths": _cut(make, 0.9) for kind, make in _WHOLE.items()},
    **{f"{kind}: all but a byte": _cut(make, 0) for kind, make in _WHOLE.items()},
    "png: pixels whose checksum is wrong": _pixels_damaged,
    "png: a header whose checksum is wrong": lambda: (
        (drawn := draw("png", (64, 48)))[:29] + bytes(4) + drawn[33:]
    ),
    "png: no pixels": lambda: PNG + chunk(b"IHDR", draw("png")[16:29]) + chunk(b"IEND", b""),
    "jpeg: as many segments as 8 MiB can hold": lambda: jpeg_with(segment(0xFE, b"") * 2 * _MIB),
    "jpeg: no picture": lambda: b"\xff\xd8" + segment(0xE0, b"JFIF\0" + bytes(9)) + b"\xff\xd9",
}
