import asyncio
import hashlib
import io
import resource
import struct
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import pytest
from PIL import Image

from models.errors import Misconfigured
from models.images.storage import Store
from models.images.store_errors import Missing, NotAnImage, StoreUnavailable, TooLarge, Truncated

PROJECT = "018f3a5e7c1d7abc8def0123456789ab"
MIB = 1024 * 1024
PLENTY = 64 * MIB


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "images"))


def noise(size: int) -> bytes:
    """Make bytes that no format can compress, the same ones each time."""
    return hashlib.shake_256(b"noise").digest(size)


def picture(kind: str, side: int = 64) -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), noise(side * side * 3)).save(out, kind)
    return out.getvalue()


async def cut(data: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Refuse to write files beyond the limit: the same error path as a full disk, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "bmp", "tiff"])
async def test_an_image_is_kept_under_the_hash_of_its_bytes(store: Store, kind: str) -> None:
    data = picture(kind)
    blob = await store.keep(PROJECT, cut(data), max_bytes=PLENTY)
    assert blob.sha256 == hashlib.sha256(data).hexdigest()
    assert blob.key == f"{PROJECT}/{blob.sha256}"
    assert (blob.size, blob.content_type) == (len(data), f"image/{kind}")
    assert await store.read(blob.key) == data
    assert await store.size(blob.key) == len(data)
    assert await store.verify(blob.key)


@pytest.mark.parametrize("side", [590, 700, 2_000])  # just below and above 1 MiB, and 12 MB
async def test_a_large_image_passes_through_a_temporary_file(
    store: Store, tmp_path: Path, side: int
) -> None:
    data = picture("bmp", side)
    blob = await store.keep(PROJECT, cut(data, 100_003), max_bytes=len(data))
    assert await store.read(blob.key) == data
    assert await store.verify(blob.key)
    assert files(tmp_path) == [f"images/{blob.key}"]


async def test_the_same_image_twice_is_one_blob(store: Store, tmp_path: Path) -> None:
    data = picture("png")
    blobs = await asyncio.gather(
        *(store.keep(PROJECT, cut(data, size), max_bytes=PLENTY) for size in (100, 1_000, 10**6))
    )
    assert len(set(blobs)) == 1
    assert files(tmp_path) == [f"images/{blobs[0].key}"]


async def test_two_projects_do_not_share_blobs(store: Store) -> None:
    data = picture("png")
    first = await store.keep("a" * 32, cut(data), max_bytes=PLENTY)
    second = await store.keep("b" * 32, cut(data), max_bytes=PLENTY)
    await store.delete(first.key)
    assert await store.size(first.key) is None
    assert await store.read(second.key) == data


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "bmp"])
@pytest.mark.parametrize("missing", [1, 2, 1_000])
async def test_an_image_without_its_end_is_truncated(
    store: Store, tmp_path: Path, kind: str, missing: int
) -> None:
    with pytest.raises(Truncated, match=kind):
        await store.keep(PROJECT, cut(picture(kind)[:-missing]), max_bytes=PLENTY)
    assert files(tmp_path) == []


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif"])
async def test_padding_after_the_end_is_part_of_the_image(store: Store, kind: str) -> None:
    data = picture(kind) + bytes(20)
    blob = await store.keep(PROJECT, cut(data), max_bytes=PLENTY)
    assert blob.size == len(data)


async def test_the_end_of_an_embedded_thumbnail_is_not_the_end_of_a_jpeg(store: Store) -> None:
    thumbnail = picture("jpeg", 16)
    data = picture("jpeg")
    embedded = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    data = data[:2] + embedded + data[2:]
    assert (await store.keep(PROJECT, cut(data), max_bytes=PLENTY)).size == len(data)
    with pytest.raises(Truncated):
        await store.keep(PROJECT, cut(data[:-2]), max_bytes=PLENTY)
    with pytest.raises(Truncated):
        await store.keep(PROJECT, cut(data[: 2 + len(embedded)]), max_bytes=PLENTY)


async def test_a_jpeg_with_fill_bytes_and_markers_without_length_is_whole(store: Store) -> None:
    data = picture("jpeg")
    blob = await store.keep(
        PROJECT, cut(data[:2] + b"\xff\x01\xff\xff" + data[2:]), max_bytes=PLENTY
    )
    assert await store.verify(blob.key)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0",
        b"\xff\xd8\xff\xe0\xff\xff short",
        b"\xff\xd8\xff" + b"\xff" * 50_000,
        b"\xff\xd8\xff\xe0\x00\x02 and no marker here",
        b"RIFF\x00\xff\xff\xffWEBP",
        b"II*\0\xff",
        b"MM\0*\xff\xff\xff\xff",
        b"",
    ],
)
async def test_a_hostile_or_cut_header_is_truncated_not_a_surprise(
    store: Store, data: bytes
) -> None:
    with pytest.raises(Truncated):
        await store.keep(PROJECT, cut(data), max_bytes=PLENTY)


@pytest.mark.parametrize("data", [b"<!DOCTYPE html><html>", b'{"error": "expired"}', b"x", b"BMW"])
async def test_what_is_not_an_image_is_refused_and_says_what_it_looks_like(
    store: Store, tmp_path: Path, data: bytes
) -> None:
    with pytest.raises(NotAnImage) as refused:
        await store.keep(PROJECT, cut(data), max_bytes=PLENTY)
    assert data[:4].decode() in str(refused.value)
    assert files(tmp_path) == []


async def test_an_endless_image_is_refused_before_it_fills_the_disk(
    store: Store, tmp_path: Path
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65_536
            yield b"\x89PNG\r\n\x1a\n" + bytes(65_528)

    with pytest.raises(TooLarge, match=str(3 * MIB)):
        await store.keep(PROJECT, endless(), max_bytes=3 * MIB)
    assert read == 3 * MIB + 65_536
    assert files(tmp_path) == []


async def test_what_the_source_raises_passes_through(store: Store, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield picture("png")
        raise ConnectionResetError("by the provider")

    with pytest.raises(ConnectionResetError, match="by the provider"):
        await store.keep(PROJECT, broken(), max_bytes=PLENTY)
    assert files(tmp_path) == []


async def test_a_canceled_keep_leaves_nothing(store: Store, tmp_path: Path) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield picture("bmp", 1_000)
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await store.keep(PROJECT, slow(), max_bytes=PLENTY)
    assert files(tmp_path) == []


@pytest.mark.parametrize("side", [500, 2_000])  # in memory, and in a temporary file
async def test_a_full_disk_is_an_unavailable_store(store: Store, tmp_path: Path, side: int) -> None:
    data = picture("bmp", side)
    with full_disk(500_000), pytest.raises(StoreUnavailable, match=r"too large|File too large"):
        await store.keep(PROJECT, cut(data), max_bytes=PLENTY)
    assert files(tmp_path) == []
    assert (await store.keep(PROJECT, cut(data), max_bytes=PLENTY)).size == len(data)


async def test_a_folder_that_takes_no_files_is_an_unavailable_store(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "images" / PROJECT).write_text("a file where the folder should be")
    with pytest.raises(StoreUnavailable):
        await store.keep(PROJECT, cut(picture("png")), max_bytes=PLENTY)
    with pytest.raises(StoreUnavailable):
        await store.put(PROJECT, b"data", "image/png")
    with pytest.raises(StoreUnavailable):
        await store.put_thumbnail(PROJECT, "0" * 64, b"data")


async def test_a_bucket_that_is_away_is_an_unavailable_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "example")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    bucket = Store("s3://bucket/prefix")
    key = f"{PROJECT}/{'0' * 64}"
    for call in (bucket.read(key), bucket.size(key), bucket.delete(key), bucket.verify(key)):
        with pytest.raises(StoreUnavailable):
            await call
    with pytest.raises(StoreUnavailable):
        await bucket.keep(PROJECT, cut(picture("png")), max_bytes=PLENTY)
    with pytest.raises(StoreUnavailable):
        await bucket.check()


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "az://nowhere@", "/dev/null/images"])
def test_a_url_that_leads_nowhere_is_a_misconfiguration(url: str) -> None:
    with pytest.raises(Misconfigured, match="DARKROOM_STORAGE_URL"):
        Store(url)


async def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/by-url")
    blob = await store.put(PROJECT, b"data", "image/png")
    assert (tmp_path / "by-url" / blob.key).read_bytes() == b"data"


async def test_bytes_in_memory_are_kept_under_their_hash_too(store: Store) -> None:
    data = picture("png")
    kept = await store.keep(PROJECT, cut(data), max_bytes=PLENTY)
    assert await store.put(PROJECT, data, "image/png") == kept


async def test_a_thumbnail_lies_beside_its_image(store: Store) -> None:
    blob = await store.keep(PROJECT, cut(picture("png")), max_bytes=PLENTY)
    key = await store.put_thumbnail(PROJECT, blob.sha256, b"small")
    assert key == f"{blob.key}.thumb"
    assert await store.read(key) == b"small"


async def test_a_blob_streams_whole_or_in_part(store: Store) -> None:
    data = noise(3 * MIB + 17)
    key = (await store.put(PROJECT, data, "image/png")).key
    for start, end in [
        (None, None),
        (5, None),
        (None, 5),
        (10, 11),
        (MIB - 1, 2 * MIB + 1),
        (0, MIB),
        (3 * MIB, None),
        (7, 100 * MIB),
        (len(data) - 1, None),
    ]:
        assert await whole(await store.open(key, start=start, end=end)) == data[start:end]
    with pytest.raises(StoreUnavailable):
        await store.open(key, start=len(data))


async def test_a_blob_that_vanishes_in_the_middle_ends_the_stream_with_missing(
    store: Store,
) -> None:
    key = (await store.put(PROJECT, bytes(2 * MIB), "image/png")).key
    stream = await store.open(key)
    await anext(stream)
    await store.delete(key)
    with pytest.raises(Missing):
        await anext(stream)


async def test_what_is_not_there_is_missing(store: Store) -> None:
    key = f"{PROJECT}/{'0' * 64}"
    with pytest.raises(Missing):
        await store.read(key)
    with pytest.raises(Missing):
        await store.open(key)
    assert await store.size(key) is None
    assert not await store.verify(key)
    await store.delete(key)


async def test_changed_bytes_do_not_verify_until_they_are_kept_again(
    store: Store, tmp_path: Path
) -> None:
    data = picture("png")
    blob = await store.keep(PROJECT, cut(data), max_bytes=PLENTY)
    (tmp_path / "images" / blob.key).write_bytes(data[:-1] + b"x")
    assert not await store.verify(blob.key)
    await store.keep(PROJECT, cut(data), max_bytes=PLENTY)
    assert await store.verify(blob.key)


async def test_a_key_cannot_leave_the_folder(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(StoreUnavailable):
        await store.read("../secret")
    with pytest.raises(StoreUnavailable):
        await store.put("..", b"data", "image/png")


async def test_a_check_leaves_nothing_and_fails_when_the_store_does(
    store: Store, tmp_path: Path
) -> None:
    await store.check()
    assert files(tmp_path) == []
    (tmp_path / "images").rmdir()
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(StoreUnavailable):
        await store.check()


async def test_a_check_fails_when_an_image_has_no_room(store: Store, tmp_path: Path) -> None:
    with full_disk(MIB), pytest.raises(StoreUnavailable):
        await store.check()
    await store.check()
    assert files(tmp_path) == []


async def test_a_check_fails_when_a_large_image_has_no_temporary_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StoreUnavailable, match="temporary file"):
        await store.check()


async def test_keeping_a_large_image_does_not_stop_the_loop(store: Store) -> None:
    gaps: list[float] = []

    async def tick() -> None:
        last = perf_counter()
        while True:
            await asyncio.sleep(0.001)
            gaps.append(perf_counter() - last)
            last = perf_counter()

    end = b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    data = b"\x89PNG\r\n\x1a\n" + noise(60 * MIB) + end
    ticking = asyncio.create_task(tick())
    began = perf_counter()
    await store.keep(PROJECT, cut(data, len(data)), max_bytes=PLENTY)
    took = perf_counter() - began
    ticking.cancel()
    # Hashing, spooling or uploading on the loop would be one pause of a third of the time each.
    assert max(gaps) < took / 4
