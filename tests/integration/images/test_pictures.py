import asyncio
import gc
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from time import perf_counter

import pytest
from PIL import Image

from models.images.pictures import Broken, Pictures, Size
from tests.fixtures.decoders import DECODERS
from tests.fixtures.drawing import BROKEN, ODD, chunk, draw, png_claiming, png_with, webp_with

PLENTY = 36_000_000  # pixels
SMALL = (160, 120)


@pytest.fixture
def pictures() -> Pictures:
    return DECODERS


@pytest.fixture
async def own() -> AsyncIterator[Pictures]:
    """For who counts or kills the child."""
    async with Pictures(children=1) as pictures:
        yield pictures


def picture(
    kind: str,
    size: tuple[int, int] = (640, 480),
    *,
    mode: str = "RGB",
    colour: str | int = "red",
    exif: Image.Exif | None = None,
    **options: object,
) -> bytes:
    out = io.BytesIO()
    image = Image.new(mode, size, colour)
    if exif is not None:
        options["exif"] = exif
    image.save(out, kind, **options)
    return out.getvalue()


def opened(thumbnail: bytes | Broken) -> Image.Image:
    assert isinstance(thumbnail, bytes), thumbnail
    image = Image.open(io.BytesIO(thumbnail))
    image.load()
    return image


def colour_at(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    pixel = image.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return pixel


def of_process(pid: int, name: str) -> str:
    return (Path("/proc") / str(pid) / name).read_text()


def children() -> set[int]:
    """Find the decoders that this test has started and that still run.

    By the parent that each process names: a parent's own list leaves out some while another ends (proc(5)).
    """
    processes = (int(each.name) for each in Path("/proc").glob("[0-9]*"))
    return {pid for pid in processes if _is_decoder(pid)} - DECODERS.pids


def _is_decoder(pid: int) -> bool:
    state, parent, *_ = _read(pid, "stat").rpartition(b")")[2].split() or (b"Z", b"0")
    command = _read(pid, "cmdline")
    # While it is being executed it has no command for a moment.
    named = not command or b"models.images.decoding" in command
    return int(parent) == os.getpid() and state != b"Z" and named


def _read(pid: int, name: str) -> bytes:
    try:
        return (Path("/proc") / str(pid) / name).read_bytes()
    except OSError:  # it has ended since it was listed
        return b""


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # what is waited for happens in another process
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "bmp", "tiff"])
async def test_an_image_has_a_size_and_a_thumbnail(pictures: Pictures, kind: str) -> None:
    data = picture(kind, (1_600, 900))
    assert await pictures.inspect(data) == Size(1_600, 900)
    thumbnail = opened(await pictures.thumbnail(data))
    assert (thumbnail.format, thumbnail.size, thumbnail.mode) == ("JPEG", (512, 288), "RGB")
    red, green, blue = colour_at(thumbnail, 100, 100)
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 128), ("P", 0), ("LA", 128), ("1", 1), ("I;16", 128)]
)
async def test_any_mode_of_pixels_becomes_a_jpeg(
    pictures: Pictures, mode: str, colour: int
) -> None:
    data = picture("png", (600, 600), mode=mode, colour=colour if mode != "LA" else "grey")
    assert opened(await pictures.thumbnail(data)).size == (512, 512)


async def test_what_is_transparent_becomes_white(pictures: Pictures) -> None:
    data = picture("png", mode="RGBA", colour="#ff000000")
    assert min(colour_at(opened(await pictures.thumbnail(data)), 10, 10)) > 250


async def test_the_longest_side_is_chosen_and_a_small_image_is_not_enlarged(
    pictures: Pictures,
) -> None:
    assert opened(await pictures.thumbnail(picture("png", (100, 400)), side=100)).size == (25, 100)
    assert opened(await pictures.thumbnail(picture("png", (100, 40)))).size == (100, 40)
    assert opened(await pictures.thumbnail(picture("png", (5_000, 1)))).size == (512, 1)


async def test_a_thumbnail_is_upright_and_has_no_metadata(pictures: Pictures) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to see it upright
    exif[0x010E] = "where I live"
    data = picture("jpeg", (800, 400), exif=exif, comment=b"who I am", icc_profile=b"what I use")
    assert b"where I live" in data
    assert b"who I am" in data
    assert await pictures.inspect(data) == Size(800, 400)
    thumbnail = await pictures.thumbnail(data)
    image = opened(thumbnail)
    assert image.size == (256, 512)
    assert not image.getexif()
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"<html>not found</html>",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"%!PS-Adobe",
    ],
)
async def test_garbage_is_broken(pictures: Pictures, data: bytes) -> None:
    assert isinstance(await pictures.inspect(data), Broken)
    assert isinstance(await pictures.thumbnail(data), Broken)


async def test_a_truncated_image_has_a_size_and_no_thumbnail(pictures: Pictures) -> None:
    noise = Image.effect_noise((800, 800), 80)
    out = io.BytesIO()
    noise.save(out, "jpeg")
    half = out.getvalue()[: len(out.getvalue()) // 2]
    assert await pictures.inspect(half) == Size(800, 800)
    answer = await pictures.thumbnail(half)
    assert isinstance(answer, Broken)
    assert "truncated" in answer.reason


@pytest.mark.parametrize("name", ODD)
async def test_a_picture_is_a_picture_whatever_its_metadata_is(
    pictures: Pictures, name: str
) -> None:
    data = ODD[name]()
    size = await pictures.inspect(data)
    assert isinstance(size, Size)
    before = DECODERS.pids
    assert await pictures.decode(data, most=PLENTY, whole=True) == size
    assert isinstance(await pictures.thumbnail(data), bytes)
    assert DECODERS.pids == before, "nobody had to die for it"


@pytest.mark.parametrize("name", BROKEN)
async def test_a_file_without_all_of_its_pixels_or_its_end_is_broken(
    pictures: Pictures, name: str
) -> None:
    found = await pictures.decode(BROKEN[name](), most=PLENTY, whole=True)
    assert isinstance(found, Broken)
    assert found.reason
    assert not found.passing


async def test_a_jpeg_needs_its_end_whatever_its_pixels_are(pictures: Pictures) -> None:
    for _ in range(100):  # a decoder has all pixels of one in forty before it looks for the end
        found = await pictures.decode(BROKEN["jpeg: all but a byte"](), most=PLENTY, whole=True)
        assert isinstance(found, Broken)


async def test_pixels_without_an_end_are_a_picture_to_whoever_paid_for_it(
    pictures: Pictures,
) -> None:
    for data in (
        draw("png")[:-12],
        draw("gif")[:-1],
        BROKEN["png: pixels whose checksum is wrong"](),
        draw("jpeg", SMALL)[:-1],
        draw("jpeg", SMALL)[:-2],
        draw("jpeg", SMALL, "CMYK")[:-2],
        draw("jpeg", SMALL, progressive=True)[:-2],
        draw("jpeg", SMALL, restart_marker_rows=1)[:-2],
        webp_with(b"EXIF", b"MM\0*" + bytes(40))[:-20],
    ):
        assert isinstance(await pictures.decode(data, most=PLENTY, whole=False), Size)
        assert isinstance(await pictures.decode(data, most=PLENTY, whole=True), Broken)


async def test_a_thumbnail_is_drawn_of_a_jpeg_without_its_end(pictures: Pictures) -> None:
    assert opened(await pictures.thumbnail(picture("jpeg")[:-2])).size == (512, 384)


async def test_a_jpeg_that_lacks_pixels_as_well_is_broken_to_whoever_paid_for_it(
    pictures: Pictures,
) -> None:
    scan = b"\xff\xda"
    progressive = draw("jpeg", SMALL, progressive=True)
    restarting = draw("jpeg", SMALL, restart_marker_rows=1)
    for data in (
        draw("jpeg", SMALL)[:-20],
        progressive[: progressive.rindex(scan)],  # each scan that came, came whole
        progressive[: progressive.rindex(scan) + 8],
        restarting[: restarting.rindex(b"\xff\xd5")],  # each row that came, came whole
        restarting[: restarting.rindex(b"\xff\xd2") + 1],
    ):
        found = await pictures.decode(data, most=PLENTY, whole=False)
        assert isinstance(found, Broken)
        assert "truncated" in found.reason
        assert not found.passing


async def test_what_has_too_many_pixels_is_not_decoded_and_its_size_is_told(
    pictures: Pictures,
) -> None:
    cut = png_claiming(640, 480)  # half of its pixels are missing
    assert await pictures.decode(cut, most=640 * 480 - 1, whole=True) == Size(640, 480)


async def test_a_picture_that_takes_too_long_is_broken_for_good() -> None:
    slow = png_with(chunk(b"tEXt", b"") * 4_000_000)
    async with Pictures(children=1, cpu=timedelta(0)) as hurried:  # the kernel counts whole seconds
        found = await hurried.decode(slow, most=PLENTY, whole=True)
        assert isinstance(found, Broken)
        assert "to decode" in found.reason
        assert not found.passing


@pytest.mark.parametrize("side", [7_000, 30_000, 2**31 - 1])
async def test_a_decompression_bomb_is_broken_before_it_is_decoded(
    own: Pictures, side: int
) -> None:
    assert await own.inspect(picture("png")) == Size(640, 480)
    before = children()  # a second one may start meanwhile
    bomb = png_claiming(side, side)
    seen = await own.inspect(bomb)
    assert seen == Size(side, side) if side == 7_000 else isinstance(seen, Broken)
    assert isinstance(await own.thumbnail(bomb), Broken)
    assert before
    assert before <= children()  # nobody had to die for it


async def test_too_little_memory_is_an_outcome_and_the_next_request_gets_a_fresh_child() -> None:
    large = picture("png", (6_000, 6_000), compress_level=1)
    async with Pictures(children=1, memory=100 * 1024**2) as pictures:
        before = children()
        answer = await pictures.thumbnail(large)
        assert isinstance(answer, Broken)
        assert await pictures.inspect(picture("png")) == Size(640, 480)
        assert not children() & before


async def test_too_little_time_is_an_outcome() -> None:
    large = picture("png", (6_000, 6_000), compress_level=1)
    async with Pictures(children=1, wall=timedelta(milliseconds=20)) as pictures:
        # The child's own alarm ends it, or its parent's patience on a machine too busy to ring it.
        assert isinstance(await pictures.thumbnail(large), Broken)


async def test_a_child_that_hangs_is_an_outcome_and_the_next_request_gets_a_fresh_one() -> None:
    before = children()
    async with Pictures(children=1, wall=timedelta(seconds=1)) as pictures:
        assert await pictures.inspect(picture("png")) == Size(640, 480)
        (child,) = children() - before
        os.kill(child, signal.SIGSTOP)
        assert isinstance(await pictures.thumbnail(picture("png")), Broken)
        assert await pictures.inspect(picture("png")) == Size(640, 480)
        assert child not in children()


async def test_the_largest_image_of_the_provider_fits(pictures: Pictures) -> None:
    data = picture("png", (6_000, 6_000), mode="RGBA", compress_level=1)
    assert opened(await pictures.thumbnail(data)).size == (512, 512)


async def test_a_child_killed_in_the_middle_is_an_outcome_and_the_next_one_is_fresh(
    own: Pictures,
) -> None:
    (child,) = children()
    os.kill(child, signal.SIGSTOP)  # so that it is in the middle for certain
    asking = asyncio.create_task(own.thumbnail(picture("png")))
    await asyncio.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    answer = await asking
    assert answer == Broken("the decoder ended with -9", passing=True)
    assert await own.inspect(picture("png")) == Size(640, 480)
    assert child not in children()


async def test_a_child_killed_while_idle_is_not_noticed(own: Pictures) -> None:
    (child,) = children()
    os.kill(child, signal.SIGKILL)
    await until(lambda: not children())
    await asyncio.sleep(0.05)
    assert await own.inspect(picture("png")) == Size(640, 480)


async def test_a_child_that_takes_too_long_is_replaced() -> None:
    async with Pictures(children=1, wall=timedelta(seconds=1)) as pictures:
        (child,) = children()
        os.kill(child, signal.SIGSTOP)
        answer = await pictures.thumbnail(picture("png"))
        assert isinstance(answer, Broken)
        assert "in time" in answer.reason
        assert await pictures.inspect(picture("png")) == Size(640, 480)
        assert child not in children()


async def test_a_canceled_request_does_not_answer_the_next_one(own: Pictures) -> None:
    slow = picture("png", (6_000, 6_000), compress_level=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await own.thumbnail(slow)
    assert await own.inspect(picture("png")) == Size(640, 480)


async def test_twenty_at_once_each_get_their_own_answer() -> None:
    async with Pictures(children=2) as pictures:
        sizes = [(100 + n, 200 + n) for n in range(20)]
        answers = await asyncio.gather(
            *(
                pictures.inspect(picture("png", size) if size[0] % 5 else b"garbage")
                for size in sizes
            )
        )
        assert len(children()) == 2
    for size, answer in zip(sizes, answers, strict=True):
        assert answer == Size(*size) if size[0] % 5 else isinstance(answer, Broken)


async def test_the_loop_goes_on_while_a_large_image_is_decoded(own: Pictures) -> None:
    data = picture("png", (6_000, 6_000), compress_level=0)  # 108 MB through the pipe
    gaps: list[float] = []

    async def tick() -> None:
        last = perf_counter()
        while True:
            await asyncio.sleep(0.001)
            gaps.append(perf_counter() - last)
            last = perf_counter()

    ticking = asyncio.create_task(tick())
    began = perf_counter()
    assert isinstance(await own.thumbnail(data), bytes)
    took = perf_counter() - began
    ticking.cancel()
    assert max(gaps) < took / 3


async def test_a_child_knows_no_secret_and_may_not_write_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DARKROOM_SECRET", "example-of-a-secret")
    async with Pictures(children=1) as pictures:
        await pictures.inspect(b"")
        (child,) = children()
        environment = of_process(child, "environ")
        assert {entry.partition("=")[0] for entry in environment.split("\0") if entry} == {
            "PYTHONPATH"
        }
        limits = of_process(child, "limits").splitlines()
        bounded = {line[:25].strip(): line[26:].split()[0] for line in limits}
        assert bounded["Max address space"] == str(1024**3)
        assert bounded["Max file size"] == "0"
        assert int(bounded["Max cpu time"]) < 60


async def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio\n"
        "from models.images.pictures import Pictures\n"
        "async def main():\n"
        "    async with Pictures(children=1) as pictures:\n"
        "        await pictures.inspect(b'')\n"
        "        print('ready', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"ready\n"
    (child,) = of_process(parent.pid, f"task/{parent.pid}/children").split()
    parent.kill()
    await parent.wait()
    await until(lambda: not Path(f"/proc/{child}").exists())


async def test_nothing_is_left_after_the_end() -> None:
    tasks = asyncio.all_tasks()
    async with Pictures(children=2) as pictures:
        assert len(children()) == 2
        await pictures.inspect(b"")
    assert children() == set()
    assert asyncio.all_tasks() == tasks
    gc.collect()  # an unclosed pipe would warn, and warnings are errors


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is read from /proc")
async def test_a_child_yields_to_whoever_waits_for_less() -> None:
    async with Pictures(children=1, nice=15) as pictures:
        assert isinstance(await pictures.inspect(draw("png")), Size)
        (child,) = children()
        of = Path(f"/proc/{child}")
        assert int((of / "stat").read_text().rpartition(")")[2].split()[16]) == os.nice(0) + 15
        if (group := of / "autogroup").exists():
            assert group.read_text().split()[-1] == "15", "each session has a share of its own"
