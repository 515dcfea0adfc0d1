"""Images in the object store, each under the hash of its bytes: `{project}/{sha256}`.

A blob is written whole or not at all, and the same bytes twice are one blob. A folder by default;
S3, Google or Azure by URL, with credentials from their own environment variables.

On a folder obstore writes beside the final name and renames, without fsync: a power cut, unlike a
killed process, may lose the last seconds. `verify` finds out. On S3 a blob over 5 MiB is a
multipart upload, and a killed one leaves hidden parts: give the bucket a lifecycle rule for them.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from models.errors import Misconfigured
from models.images import formats
from models.images.spool import Spool
from models.images.store_errors import (
    Missing,
    NotAnImage,
    StoreUnavailable,
    TooLarge,
    Truncated,
    first_line,
    translated,
)
from models.settings import path_of

if TYPE_CHECKING:  # obstore has these names in its stubs only
    from obstore.store import ObjectStore, RetryConfig


_MIB = 1024 * 1024
_SMALL = 256 * 1024  # bytes, hashed in some 0.2 ms
_CHECK_TIMEOUT = timedelta(seconds=10)
_PROBE = 4 * _MIB  # an image of 4096 x 4096 is some 3.3 MB: what has no room for one, is full
# A caller retries for a day, so the store's own patience only bridges a blip.
_RETRY: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}


@dataclass(frozen=True)
class Blob:
    """What is kept: its key in the store, its hash in hex, its size in bytes, its content type."""

    key: str
    sha256: str
    size: int
    content_type: str


class Store:
    """The object store at a URL (`s3://`, `gs://`, `az://`, `file://`) or in a folder.

    A folder is made if it is not there. Raises `Misconfigured` if the URL leads nowhere.
    """

    def __init__(self, url: str) -> None:
        self._store = _connect(url)
        self._url = url

    def place(self, key: str) -> str:
        """Return where a key lies, for people: a path in a folder, or a URL."""
        folder = path_of(self._url)
        return (
            f"{self._url.rstrip('/')}/{key}" if folder is None else str((folder / key).absolute())
        )

    async def keep(
        self,
        project: str,
        chunks: AsyncIterator[bytes],
        *,
        max_bytes: int,
        decodes: Callable[[bytes], Awaitable[bool]] | None = None,
    ) -> Blob:
        """Stream an image into the store, hashed and sniffed on the way.

        Holds about 1 MiB of it in memory, then a temporary file. Where its end is not where it should
        be, `decodes` is asked whether all of its pixels are there: then it has all of them in memory.
        Raises `NotAnImage`, `Truncated`, `TooLarge` or `StoreUnavailable`; what `chunks` and `decodes`
        raise passes through as it is.
        """
        with Spool() as spool:
            async for chunk in chunks:
                if spool.size + len(chunk) > max_bytes:
                    raise TooLarge(f"more than {max_bytes} bytes")
                with translated("spool", "temporary file"):
                    await spool.write(chunk)
            with translated("spool", "temporary file"):
                # A hop to a thread takes longer than to hash what is small.
                small = spool.size < _SMALL
                content_type, ends = (
                    _type_of(spool) if small else await asyncio.to_thread(_type_of, spool)
                )
            if not ends and not (decodes and await decodes(await asyncio.to_thread(spool.read))):
                raise Truncated(f"{content_type} of {spool.size} bytes has no end")
            blob = _blob(project, spool.sha256, spool.size, content_type)
            with translated("put", blob.key):
                # Two parts at a time: at most 10 MiB in memory, however large the image.
                await obstore.put_async(self._store, blob.key, spool.source, max_concurrency=2)
            return blob

    async def put(self, project: str, data: bytes, content_type: str) -> Blob:
        """Keep bytes that are in memory already, of a type the caller vouches for."""
        digest = await asyncio.to_thread(lambda: sha256(data).hexdigest())
        blob = _blob(project, digest, len(data), content_type)
        await self._put(blob.key, data)
        return blob

    async def put_thumbnail(self, project: str, sha256: str, data: bytes) -> str:
        """Keep the thumbnail of the blob with this hash; returns its key."""
        key = f"{project}/{sha256}.thumb"
        await self._put(key, data)
        return key

    async def read(self, key: str) -> bytes:
        """Return all bytes under `key`. Raises `Missing`, `StoreUnavailable`."""
        with translated("get", key, absent=Missing):
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())

    async def open(
        self, key: str, *, start: int | None = None, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream the bytes from `start` up to, not including, `end`, 1 MiB at a time.

        Raises `Missing` before the first byte, `StoreUnavailable` also for a `start` past the end.
        """
        first = start or 0
        with translated("get", key, absent=Missing):
            # Each piece is a request of its own, so a slow reader holds no connection open.
            stop = first + _MIB if end is None else min(end, first + _MIB)
            found = await obstore.get_async(self._store, key, options={"range": (first, stop)})
            piece = bytes(await found.bytes_async())
            size = found.meta["size"]
        return self._pieces(key, piece, first, size if end is None else min(end, size))

    async def size(self, key: str) -> int | None:
        """Return the size in bytes, or None when nothing is there. Raises `StoreUnavailable`."""
        try:
            with translated("head", key, absent=Missing):
                return (await obstore.head_async(self._store, key))["size"]
        except Missing:
            return None

    async def delete(self, key: str) -> None:
        """Forget the blob; nothing happens when it is not there. Raises `StoreUnavailable`."""
        try:
            with translated("delete", key, absent=Missing):
                await obstore.delete_async(self._store, key)
        except Missing:
            return

    async def remove(self, project: str, sha256: str) -> None:
        """Forget a blob and its thumbnail, as `delete` does."""
        await self.delete(f"{project}/{sha256}.thumb")
        await self.delete(f"{project}/{sha256}")

    async def verify(self, key: str) -> bool:
        """Return whether the bytes under a blob's key are there and hash to what the key says."""
        digest = sha256()
        try:
            async for piece in await self.open(key):
                await asyncio.to_thread(digest.update, piece)
        except Missing:
            return False
        return key.endswith(f"/{digest.hexdigest()}")

    async def check(self) -> None:
        """Write, read and delete a probe object of an image's size. Raises `StoreUnavailable`.

        It goes an image's way, through a temporary file: a disk that is full there keeps none either.
        """
        key, probe = f"probe-{secrets.token_hex(8)}", secrets.token_bytes(_PROBE)
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT.total_seconds()):
                with Spool() as spool:
                    with translated("spool", "temporary file"):
                        await spool.write(probe)
                        await asyncio.to_thread(_finish, spool)
                    await self._put(key, spool.source)
                read = await self.read(key)
                await self.delete(key)
        except Missing as lost:
            raise StoreUnavailable(f"{lost}, though it was written just now") from lost
        except TimeoutError:
            seconds = _CHECK_TIMEOUT.total_seconds()
            raise StoreUnavailable(f"{key}: not within {seconds:.0f} s") from None
        if read != probe:
            raise StoreUnavailable(f"{key}: what was read is not what was written")

    async def _put(self, key: str, data: bytes | Path) -> None:
        with translated("put", key):
            await obstore.put_async(self._store, key, data, max_concurrency=2)

    async def _pieces(self, key: str, piece: bytes, at: int, end: int) -> AsyncIterator[bytes]:
        yield piece
        at += len(piece)
        while at < end:
            with translated("get", key, absent=Missing):
                piece = bytes(
                    await obstore.get_range_async(
                        self._store, key, start=at, end=min(end, at + _MIB)
                    )
                )
            yield piece
            at += len(piece)


def _connect(url: str) -> "ObjectStore":
    folder = path_of(url)
    try:
        if folder is not None:
            return LocalStore(folder.absolute(), mkdir=True)
        return from_url(url, retry_config=_RETRY)
    except (BaseError, OSError, ValueError, TypeError) as error:
        raise Misconfigured(f"DARKROOM_STORAGE_URL {url!r}: {first_line(error)}") from error


def _blob(project: str, digest: str, size: int, content_type: str) -> Blob:
    return Blob(f"{project}/{digest}", digest, size, content_type)


def _finish(spool: Spool) -> None:
    with spool.finish():
        pass


def _type_of(spool: Spool) -> tuple[str, bool]:
    """Return the content type, and whether the image has its end."""
    with spool.finish() as image:
        if not spool.size:
            raise Truncated("no bytes at all")
        content_type = formats.sniff(image[:16])
        if content_type is None:
            raise NotAnImage(f"starts with {image[:16]!r}")
        return content_type, formats.complete(content_type, image)
