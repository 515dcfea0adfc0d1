"""The child that decodes images for `models.images.pictures`, a program of its own.

    python -m models.images.decoding.child <bytes of memory> <seconds of CPU> <seconds> <niceness>

Bytes are hostile until decoded, so this process has nothing to lose: no secret in its environment, no
file to write, bounded memory and time. It reads requests on stdin and answers on stdout:

    request   >cII  what to do, a number for it, the image's length; then the image
              I: inspect its header · D: decode it, if it has at most so many pixels
              W: the same, and demand that the file is whole · T: thumbnail, so long on its longest side
              P: the same picture as PNG · V: as WebP, of so much quality (0 to 100)
    answer    >cI   O: done, B: broken; a length; then the result (>II or a picture) or the reason

Metadata is never looked at, except for the thumbnail's orientation; of an animation the first picture is.
It ends when stdin does, so it never outlives its parent. The kernel ends a request that runs too
long, even inside C code and without a parent: SIGALRM and SIGXCPU kill a process by default.
"""

import os
import resource
import signal
import struct
import sys
import warnings
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from models.images.decoding.bare import bare
from models.images.decoding.endless import ended

# Importing a plugin is what lets Pillow open its format; it may open no other.
_FORMATS = tuple(
    plugin.format or ""
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
    )
)
_DRAWN = (
    40_000_000  # pixels of which a thumbnail is made: a little more than the provider's largest
)
_CLAIMED = 1 << 28  # pixels that a header may announce: 16,384 x 16,384
_QUALITY = 80
_EFFORT = 1  # of compressing: a PNG of 4096 x 4096 takes a second, and five with Pillow's usual 6
_STRIP = 512  # rows that are hashed at once
_OUT_OF_MEMORY = 75  # the exit status that says so


def main() -> None:
    """Serve requests until stdin ends."""
    memory, cpu, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    _confine(memory, int(sys.argv[4]))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := requests.read(9):
        what, number, length = struct.unpack(">cII", header)
        try:
            status, body = _answer(what, number, requests.read(length), cpu, seconds)
        except MemoryError:
            sys.exit(_OUT_OF_MEMORY)  # the next request gets a fresh heap
        answers.write(struct.pack(">cI", status, len(body)) + body)
        answers.flush()


def _confine(memory: int, nice: int) -> None:
    _yield(nice)
    if sys.platform != "darwin":  # which refuses to limit the address space
        _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    Image.MAX_IMAGE_PIXELS = None  # each request has a limit of its own
    warnings.simplefilter("ignore")


def _yield(nice: int) -> None:
    """Be so nice to all others: Linux may share the CPU between sessions first (sched(7), autogroup)."""
    os.nice(nice)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))


def _limit(what: int, value: int) -> None:
    """Lower a soft limit for good, or the CPU's for one request; a limit set from outside stays."""
    hard = resource.getrlimit(what)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (soft, hard if what == resource.RLIMIT_CPU else soft))


def _answer(
    what: bytes, number: int, data: bytes, cpu: float, seconds: float
) -> tuple[bytes, bytes]:
    """Do one request within its time; a `MemoryError` passes through."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + cpu) + 1)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        match what:
            case b"I":
                return b"O", _size(data)
            case b"T":
                return b"O", _thumbnail(data, number)
            case b"P":
                return b"O", _written(data, "PNG", compress_level=_EFFORT)
            case b"V":
                return b"O", _written(data, "WEBP", quality=number, method=_EFFORT)
            case _:
                return b"O", _decode(data, number, whole=what == b"W")
    except MemoryError:
        raise
    except Exception as reason:  # noqa: BLE001  # decoders raise anything
        return b"B", (str(reason).partition("<")[0].strip() or type(reason).__name__).encode()[:500]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _open(data: bytes, most: int) -> Image.Image:
    image = _look(data)
    width, height = image.size
    if width * height > most:
        raise ValueError(f"{width}x{height} has more than {most:,} pixels")
    return image


def _look(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data), formats=_FORMATS)


def _size(data: bytes) -> bytes:
    with _open(bare(data), _CLAIMED) as image:
        return struct.pack(">II", *image.size)


def _decode(data: bytes, most: int, *, whole: bool) -> bytes:
    """Decode all pixels, unless there are more than `most`: then only the size is told."""
    data = bare(data, whole=whole)
    with _look(data) as image:
        size = struct.pack(">II", *image.size)
        if image.width * image.height > most:
            return size
    with _look(ended(data, _drawn)) as image:
        image.draft(None, (1, 1))  # all of a JPEG is read then, and an eighth of each side drawn
        image.load()
    return size


def _thumbnail(data: bytes, side: int) -> bytes:
    try:
        return _draw(bare(data, drawn=True), side, upright=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # metadata that cannot be read is none
        return _draw(bare(data), side, upright=False)


def _draw(data: bytes, side: int, *, upright: bool) -> bytes:
    _open(data, _DRAWN).close()
    with _look(ended(data, _drawn)) as image:
        # First smaller, then upright: a JPEG is then decoded at a fraction of its size.
        image.thumbnail((side, side))
        drawn = ImageOps.exif_transpose(image) if upright else image
        if drawn.has_transparency_data:
            drawn = drawn.convert("RGBA")
            drawn = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn)
        plain = drawn.convert("RGB")
        plain.info.clear()  # Pillow would write a JPEG's comment again
        out = BytesIO()
        plain.save(out, "JPEG", quality=_QUALITY)
        return out.getvalue()


def _written(data: bytes, format_: str, **how: int) -> bytes:
    """Write a picture in another format, every pixel of it, without metadata."""
    data = bare(data)
    _open(data, _DRAWN).close()
    with _look(ended(data, _drawn)) as image:
        plain = image.convert("RGBA" if image.has_transparency_data else "RGB")
        plain.info.clear()
        out = BytesIO()
        plain.save(out, format_, **how)
        return out.getvalue()


def _drawn(data: bytes) -> bytes:
    """Return the hash of an image's pixels, at full size."""
    digest = sha256()
    with _look(data) as image:
        image.load()
        for top in range(0, image.height, _STRIP):
            strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
            digest.update(strip.tobytes())
    return digest.digest()


if __name__ == "__main__":
    main()
