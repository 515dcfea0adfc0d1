"""The child that decodes images for `models.pictures`, a program of its own.

    python -m models.decoding.child <bytes of memory> <seconds for one request>

Bytes are hostile until decoded, so this process has nothing to lose: no secret in its environment, no
file to write, bounded memory and time. It reads requests on stdin and answers on stdout:

    request   >BHI  what to do (I: inspect, T: thumbnail), longest side, length, then the image
    answer    >cI   O: done, B: broken, length, then the result (>II or a JPEG) or the reason

It ends when stdin does, so it never outlives its parent. The kernel ends a request that runs too
long, even inside C code and without a parent: SIGALRM and SIGXCPU kill a process by default.
"""

import resource
import signal
import struct
import sys
import warnings
from io import BytesIO

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
_PIXELS = 40_000_000  # a little more than the provider's largest, 36 megapixels
_QUALITY = 80


def main() -> None:
    """Serve requests until stdin ends."""
    memory, seconds = int(sys.argv[1]), float(sys.argv[2])
    _confine(memory)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := requests.read(7):
        what, side, length = struct.unpack(">cHI", header)
        status, body = _answer(what, side, requests.read(length), seconds)
        answers.write(struct.pack(">cI", status, len(body)) + body)
        answers.flush()


def _confine(memory: int) -> None:
    if sys.platform != "darwin":  # which refuses to limit the address space
        _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    Image.MAX_IMAGE_PIXELS = _PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def _limit(what: int, value: int) -> None:
    """Lower a soft limit for good, or the CPU's for one request; a limit set from outside stays."""
    hard = resource.getrlimit(what)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (soft, hard if what == resource.RLIMIT_CPU else soft))


def _answer(what: bytes, side: int, data: bytes, seconds: float) -> tuple[bytes, bytes]:
    """Do one request within its time; a MemoryError ends the process, for a fresh heap."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 1)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            return b"O", _size(image) if what == b"I" else _thumbnail(image, side)
    except MemoryError:
        raise
    except Exception as reason:  # noqa: BLE001  # decoders raise anything
        return b"B", f"{type(reason).__name__}: {reason}".encode()[:500]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _size(image: Image.Image) -> bytes:
    return struct.pack(">II", *image.size)


def _thumbnail(image: Image.Image, side: int) -> bytes:
    # First smaller, then upright: a JPEG is then decoded at a fraction of its size.
    image.thumbnail((side, side))
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        paper = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(paper, upright)
    plain = upright.convert("RGB")
    plain.info.clear()  # Pillow would write a JPEG's comment again
    out = BytesIO()
    plain.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


if __name__ == "__main__":
    main()
