"""Reference images sent inside a request as `data:` URLs: judged, described, and built again.

The bytes of a reference go to the store when the job is submitted. Rows, GET and webhooks keep a
descriptor in its place, `data:image/png;sha256=<64 hex digits>;length=<bytes>`, and the worker
builds the `data:` URL again before the paid call.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from models.images.reference_sizes import BYTES_MAX, too_large
from models.platform.wording import shown

_SLICE = 256 * 1024  # characters of base64: whole fours
_TYPES = "png, jpeg, webp, bmp, tiff or gif"
_MAGIC = (
    ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    ("image/webp", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("image/bmp", re.compile(rb"BM")),
    ("image/tiff", re.compile(rb"II[*+]\x00|MM\x00[*+]")),
    ("image/gif", re.compile(rb"GIF8[79]a")),
)
_FORMATS = frozenset(mime for mime, _ in _MAGIC)  # what may stand in `data:image/…`
# Upstream reads HEIC, and the provider's schema names no type for it in a data: URL.
_HEIC = re.compile(rb"....ftyp(?:hei[cfmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL)
_NOT_INLINE = frozenset({"image/heic", "image/heif"})
_CONVERT = (
    "is HEIC, which cannot be sent inside a request; save it as JPEG, or send an https:// URL."
)
_NO_LINKS: Mapping[int, str] = {}
_DESCRIPTOR = re.compile(r"data:(image/[a-z]+);sha256=([0-9a-f]{64});length=([1-9][0-9]{0,8})")


class BadReference(ValueError):
    """A `data:` URL that cannot be a reference; the text is a sentence for its sender."""


class ReferenceLost(LookupError):
    """A described reference whose bytes are not at hand, or are not the ones described."""


@dataclass(frozen=True)
class Inline:
    """A reference that came inside the request: `index` is its place in `image_urls`."""

    index: int
    mime: str
    data: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True)
class KeptReference:
    """What a descriptor says about a reference in the store; `length` is in bytes."""

    mime: str
    sha256: str
    length: int

    def __str__(self) -> str:
        """Write the descriptor that `parse_descriptor` reads."""
        return f"data:{self.mime};sha256={self.sha256};length={self.length}"


def parse(url: str, index: int = 0) -> Inline:
    """Decode one `data:` URL, reading no more of the image than its first bytes.

    Raises `BadReference`, and nothing else. Whether the image can be decoded, and how large it is, is
    for a child process to find out (`models.images.pictures`), and for `reference_sizes` to judge.
    """
    mime, payload = _split(url)
    data = _decode(payload)
    found = _kind(data, f"the data: URL says {mime}, but its bytes are")
    if found != mime:
        raise BadReference(
            f"the data: URL says {mime}, but its bytes are {found}; start it with data:{found}"
        )
    return Inline(index, mime, data, hashlib.sha256(data).hexdigest())


def read_bytes(data: bytes) -> Inline:
    """Read an image that came as it is, as `parse` does; what it is, its first bytes tell."""
    if len(data) > BYTES_MAX:
        raise BadReference(too_large(len(data)))
    return Inline(0, _kind(data, "the bytes are"), data, hashlib.sha256(data).hexdigest())


def sniff(data: bytes) -> str | None:
    """Return the image type that the first bytes announce; None for any other content."""
    return next((mime for mime, magic in _MAGIC if magic.match(data)), None)


def data_url(mime: str, data: bytes) -> str:
    """Write bytes as the `data:` URL that the provider takes."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def parse_descriptor(text: str) -> KeptReference | None:
    """Read a descriptor back; None for anything that `str(Kept)` did not write."""
    found = _DESCRIPTOR.fullmatch(text)
    if found is None or found[1] not in _FORMATS:
        return None
    return KeptReference(found[1], found[2], int(found[3]))


def content_hash(url: str) -> str | None:
    """Return the SHA-256, in hex, of a `data:` URL's or descriptor's bytes; None for a link."""
    if kept := parse_descriptor(url):
        return kept.sha256
    if url[:5].lower() != "data:":
        return None
    return hashlib.sha256(_decode(_split(url)[1])).hexdigest()


def kept_in(given: Mapping[str, object]) -> tuple[KeptReference, ...]:
    """List the described references of a stored input: the blobs that `restore_input` needs."""
    found = (parse_descriptor(url) for url in urls_of(given))
    return tuple(kept for kept in found if kept is not None)


def view_input(given: Mapping[str, object], kept: Mapping[int, str]) -> dict[str, object]:
    """Return a checked input as it is stored and shown: each `data:` URL becomes a descriptor.

    `kept` maps a reference's index to the SHA-256, in hex, under which its bytes were kept. Raises
    `ReferenceLost` for an index that is missing there: an image must not end in a database row.
    """
    if "image_urls" not in given:
        return dict(given)
    return {**given, "image_urls": [_view(i, u, kept) for i, u in enumerate(urls_of(given))]}


def restore_input(
    given: Mapping[str, object], blobs: Mapping[str, bytes], links: Mapping[int, str] = _NO_LINKS
) -> dict[str, object]:
    """Return a stored input as it was sent: each descriptor becomes its `data:` URL again, or its link.

    `blobs` maps SHA-256, in hex, to bytes, and `links` places in `image_urls` to URLs. The bytes are hashed
    again here, since a call with a damaged reference would be paid like any other. Raises `ReferenceLost`.
    """
    if "image_urls" not in given:
        return dict(given)
    restored = [links.get(n) or _restore(url, blobs) for n, url in enumerate(urls_of(given))]
    return {**given, "image_urls": restored}


def urls_of(given: Mapping[str, object]) -> list[str]:
    """List the `image_urls` of a checked input; empty when it has none."""
    urls = given.get("image_urls")
    return [url for url in urls if isinstance(url, str)] if isinstance(urls, list) else []


def _kind(data: bytes, said: str) -> str:
    found = sniff(data)
    if found is None and _HEIC.match(data):
        raise BadReference(f"the image {_CONVERT}")
    if found is None:
        raise BadReference(f"{said} no image; send {_TYPES}.")
    return found


def _split(url: str) -> tuple[str, str]:
    if parse_descriptor(url):
        raise BadReference(
            f"{shown(url)} only describes a reference that was kept; send the image itself."
        )
    head, comma, payload = url.partition(",")
    mime, _, encoding = head.removeprefix("data:").partition(";")
    if mime.lower() in _NOT_INLINE:
        raise BadReference(f"{shown(head)} {_CONVERT}")
    if not comma or encoding != "base64" or mime not in _FORMATS or not url.startswith("data:"):
        raise BadReference(
            f"{shown(head)} does not start a reference; write data:image/<type>;base64,<bytes> "
            f"in lower case, where <type> is {_TYPES}."
        )
    return mime, payload


def _decode(payload: str) -> bytes:
    # Judged before decoding: base64 writes three bytes as four letters.
    if len(payload) > BYTES_MAX // 3 * 4 + 4:
        raise BadReference(too_large(len(payload) // 4 * 3))
    data = _decode_strictly(payload)
    if data is None:
        raise BadReference(
            "what follows the comma of the data: URL is not base64 (A-Z a-z 0-9 + / with = "
            "padding, no spaces, no percent signs); encode the file again."
        )
    if len(data) > BYTES_MAX:
        raise BadReference(too_large(len(data)))
    return data


def _decode_strictly(payload: str) -> bytes | None:
    # Python overlooks padding that is too long; other decoders do not.
    if len(payload) % 4 or payload.endswith("===") or payload.find("=", 0, -2) >= 0:
        return None
    try:
        # In slices: no other thread runs while one is decoded, and 10 MB take long.
        return b"".join(
            base64.b64decode(payload[at : at + _SLICE], validate=True)
            for at in range(0, len(payload), _SLICE)
        )
    except ValueError:
        return None


def _view(index: int, url: str, kept: Mapping[int, str]) -> str:
    if not url.startswith("data:") or parse_descriptor(url):
        return url
    if index not in kept:
        raise ReferenceLost(f"the bytes of image_urls[{index}] were not kept.")
    mime, payload = _split(url)
    return str(KeptReference(mime, kept[index], len(payload) // 4 * 3 - payload.count("=", -2)))


def _restore(url: str, blobs: Mapping[str, bytes]) -> str:
    kept = parse_descriptor(url)
    if kept is None:
        return url
    data = blobs.get(kept.sha256)
    if data is None or hashlib.sha256(data).hexdigest() != kept.sha256:
        raise ReferenceLost(f"the bytes of the reference {kept} are missing or damaged.")
    return data_url(kept.mime, data)
