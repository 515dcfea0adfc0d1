"""Pictures: real JPEG files drawn from prompt, seed and size, with SIMULATOR written across.

The same three make the same bytes. The scenery is drawn at a quarter of the size and enlarged
without interpolation, the text at full size: measured 11 ms of CPU for 2048x2048 and
60 ms for 4096x4096.
"""

import io
import struct
import textwrap
import zlib
from functools import lru_cache
from hashlib import sha256
from unicodedata import combining, normalize

from PIL import Image, ImageDraw, ImageFont, ImageOps

Colour = tuple[int, int, int]
_SCALE = 4
_QUALITY = 75
_HEADER = 33  # bytes of a PNG: its signature and its IHDR


def fingerprint(prompt: str, seed: int, width: int, height: int) -> bytes:
    """Return the 32 bytes that decide the scenery."""
    return sha256(f"{seed}:{width}x{height}:{prompt}".encode(errors="replace")).digest()


def draw(words: str, dice: bytes, width: int, height: int) -> bytes:
    """Draw a JPEG; `words` is the bit of the prompt that is shown, `dice` a fingerprint."""
    picture = _scenery(dice, max(1, width // _SCALE), max(1, height // _SCALE))
    picture = picture.resize((width, height), Image.Resampling.NEAREST)
    _caption(picture, words)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def stamp(name: str, width: int, height: int) -> bytes:
    """Return the one cached drawing of this size, made unique by `name` in a JPEG comment."""
    drawn = _blank(width, height)
    comment = f"SIMULATOR {name}".encode()
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return drawn[:2] + segment + drawn[2:]


def with_workflow(drawn: bytes) -> bytes:
    """Write a drawing as the PNG of a tool that keeps its workflow in it, and one wrong checksum."""
    nodes = zlib.compress(b'{"class_type": "KSampler"}, ' * 120_000)
    texts = (b"zTXt", b"workflow\0\0" + nodes, 0), (b"tEXt", b"Software\0SIMULATOR", 1)
    out = io.BytesIO()
    Image.open(io.BytesIO(drawn)).save(out, "PNG", compress_level=1)
    png = out.getvalue()
    chunks = b"".join(
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", zlib.crc32(kind + body) ^ off)
        for kind, body, off in texts
    )
    return png[:_HEADER] + chunks + png[_HEADER:]


@lru_cache(maxsize=8)
def _blank(width: int, height: int) -> bytes:
    dice = fingerprint("stamped", 0, width, height)
    return draw("one drawing for all prompts: a load test", dice, width, height)


def _scenery(dice: bytes, width: int, height: int) -> Image.Image:
    night = (dice[0] // 3, dice[1] // 3, 70 + dice[2] // 2)
    dawn = (170 + dice[3] // 3, 120 + dice[4] // 3, 100 + dice[5] // 3)
    sky = ImageOps.colorize(Image.linear_gradient("L"), night, dawn)
    picture = sky.resize((width, height), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    radius = min(width, height) // 9
    x, y = dice[6] * width // 255, height // 8 + dice[7] * height // 900
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 222, 160))
    for row in range(3):
        base = height * (9 + 2 * row) // 18
        heights = [base - dice[8 + row * 7 + step] * height // 1100 for step in range(7)]
        ridge = [(width * step // 6, top) for step, top in enumerate(heights)]
        shade = (70 - 18 * row + dice[29] // 8, 96 - 22 * row + dice[30] // 8, 84 - 20 * row)
        pen.polygon([(0, height), *ridge, (width, height)], fill=shade)
    return picture


def _caption(picture: Image.Image, words: str) -> None:
    width, height = picture.size
    pen = ImageDraw.Draw(picture)
    large, small = _font(height // 14), _font(height // 44)
    pen.rectangle((0, height * 4 // 5, width, height), fill=(18, 18, 22))
    pen.text((width // 20, height * 81 // 100), "SIMULATOR", font=large, fill="white")
    # Pillow's own font has little beyond ASCII: café becomes cafe, other scripts question marks.
    bare = "".join(c for c in normalize("NFKD", words) if not combining(c))
    words = bare.encode("ascii", "replace").decode()
    lines = textwrap.wrap(words, width=max(20, 60 * width // height))[:2]
    pen.text((width // 20, height * 91 // 100), "\n".join(lines), font=small, fill=(200, 200, 210))


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
