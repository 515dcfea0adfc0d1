import hashlib
import io
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.images import reference_sizes, references
from models.images.references import BadReference, KeptReference, ReferenceLost

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")


def image_of(kind: str, width: int = 20, height: int = 16) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(written, kind)
    return written.getvalue()


def url_of(kind: str, data: bytes) -> str:
    return references.data_url(f"image/{kind.lower()}", data)


def problem_of(url: str) -> str:
    with pytest.raises(BadReference) as refused:
        references.parse(url)
    return str(refused.value)


def test_padded_base64_is_read() -> None:
    assert PADDED.endswith("=")
    assert references.parse(PADDED).mime == "image/bmp"


@pytest.mark.parametrize("kind", FORMATS)
def test_each_of_the_six_formats_is_read_and_written_back(kind: str) -> None:
    data = image_of(kind)
    url = url_of(kind, data)

    inline = references.parse(url, index=3)

    assert (inline.index, inline.mime) == (3, f"image/{kind.lower()}")
    assert inline.data == data
    assert inline.sha256 == hashlib.sha256(data).hexdigest()
    assert references.data_url(inline.mime, inline.data) == url
    assert "data=" not in repr(inline)


PNG = url_of("PNG", image_of("PNG"))
PADDED = url_of("BMP", image_of("BMP") + b"\xfb\xff")


HEIC = url_of("PNG", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("data:", "does not start a reference"),
        ("data:,", "does not start a reference"),
        ("data:image/png;base64", "does not start a reference"),
        ("data:image/svg+xml;base64,AAAA", "png, jpeg, webp, bmp, tiff or gif"),
        ("data:image/jpg;base64,/9j/", "png, jpeg, webp, bmp, tiff or gif"),
        ("data:image/png;charset=utf-8;base64,AAAA", "does not start a reference"),
        ("data:image/png,AAAA", "does not start a reference"),
        (PNG.replace("image/png", "IMAGE/PNG"), "lower case"),
        (PNG.replace("data:", "DATA:"), "lower case"),
        ("data:image/png;base64,", "no image"),
        ("data:image/png;base64,AAAA", "no image"),
        (PNG[:-1], "not base64"),
        (PNG + "=", "not base64"),
        (PNG + "\n", "not base64"),
        (PNG + "====", "not base64"),
        ("data:image/bmp;base64,Qk0_", "not base64"),
        (PADDED.rstrip("="), "not base64"),
        (PADDED.replace("=", "%3D"), "not base64"),
        (PNG + "é", "not base64"),
        (PNG + "\ud800", "not base64"),
        (PNG.replace("image/png", "image/gif"), "start it with data:image/png"),
        (HEIC, "the image is HEIC, which cannot be sent inside a request; save it as JPEG"),
        (HEIC.replace("png", "heic"), "save it as JPEG, or send an https:// URL"),
        (f"data:image/png;sha256={'a' * 64};length=9", "only describes"),
    ],
)
def test_a_broken_reference_is_refused_with_what_to_do(url: str, says: str) -> None:
    message = problem_of(url)

    assert says in message
    assert len(message) < 300
    assert message.encode()
    assert message.endswith((".", "image/png"))


@pytest.mark.parametrize(
    ("width", "height", "says"),
    [
        (6000, 6000, None),
        (6001, 6000, "is 6001x6000, 36,006,000 pixels"),
        (20_000, 10_000, "takes 36,000,000 at most; scale it down to 8485x4242 or less."),
        (15, 15, None),
        (14, 100, "is 14x100; the provider needs each side over 14 pixels"),
        (100, 14, "each side over 14"),
        (15, 240, None),
        (240, 15, None),
        (15, 241, "is 15x241; the provider takes shapes from 1:16 to 16:1"),
        (600, 15, "is 600x15; the provider takes shapes from 1:16 to 16:1"),
    ],
)
def test_a_size_is_judged_as_the_provider_does(width: int, height: int, says: str | None) -> None:
    found = reference_sizes.judge_size(width, height)
    assert says in found if says and found else found is says


@pytest.mark.parametrize("length", [0, 1, 2, 3, 196_605, 196_608, 196_609, 400_001])
def test_base64_is_read_in_slices_as_it_is_in_one(length: int) -> None:
    data = image_of("BMP") + bytes(length)
    assert references.parse(url_of("BMP", data)).data == data


def test_padding_inside_is_not_base64() -> None:
    start = url_of("BMP", image_of("BMP"))
    slice_ = "A" * (262_142 - len(start.partition(",")[2])) + "=="
    assert "not base64" in problem_of(start.rstrip("=") + slice_ + "AAAA" * 9)


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False), (2_000_000, False)])
def test_ten_megabytes_are_the_most(more: int, *, fits: bool) -> None:
    start = image_of("BMP")
    url = url_of("BMP", start + bytes(reference_sizes.BYTES_MAX - len(start) + more))

    if fits:
        assert references.parse(url).mime == "image/bmp"
    else:
        assert "at most 10,485,760 (10 MB)" in problem_of(url)


def test_an_input_is_stored_without_its_bytes_and_restored_with_them() -> None:
    png, gif = image_of("PNG"), image_of("GIF")
    sent = {
        "prompt": "a cat",
        "image_urls": [url_of("PNG", png), "https://example.com/a.png", url_of("GIF", gif)],
    }
    hashes = [hashlib.sha256(data).hexdigest() for data in (png, gif)]

    stored = references.view_input(sent, {0: hashes[0], 2: hashes[1]})

    assert stored == {
        "prompt": "a cat",
        "image_urls": [
            f"data:image/png;sha256={hashes[0]};length={len(png)}",
            "https://example.com/a.png",
            f"data:image/gif;sha256={hashes[1]};length={len(gif)}",
        ],
    }
    assert references.kept_in(stored) == (
        KeptReference("image/png", hashes[0], len(png)),
        KeptReference("image/gif", hashes[1], len(gif)),
    )
    assert references.view_input(stored, {}) == stored
    assert references.restore_input(stored, {hashes[0]: png, hashes[1]: gif}) == sent


def test_an_input_without_references_is_stored_as_it_is() -> None:
    assert references.view_input({"prompt": "a"}, {}) == {"prompt": "a"}
    assert references.restore_input({"prompt": "a"}, {}) == {"prompt": "a"}


def test_bytes_that_were_not_kept_are_never_stored_inside_a_row() -> None:
    with pytest.raises(ReferenceLost, match=re.escape("image_urls[0]")):
        references.view_input({"image_urls": [PNG]}, {1: "a" * 64})


@pytest.mark.parametrize("blobs", [{}, {"a" * 64: b"other bytes"}])
def test_a_lost_or_damaged_blob_is_not_sent(blobs: dict[str, bytes]) -> None:
    descriptor = str(KeptReference("image/png", "a" * 64, 11))

    with pytest.raises(ReferenceLost, match="missing or damaged"):
        references.restore_input({"image_urls": [descriptor]}, blobs)


@given(st.binary(max_size=64), st.sampled_from(FORMATS))
def test_the_length_in_a_descriptor_is_the_length_of_the_bytes(data: bytes, kind: str) -> None:
    digest = hashlib.sha256(data).hexdigest()
    stored = references.view_input({"image_urls": [url_of(kind, b"x" + data)]}, {0: digest})

    assert references.kept_in(stored) == (
        KeptReference(f"image/{kind.lower()}", digest, len(data) + 1),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        PNG,
        f"data:image/svg;sha256={'a' * 64};length=9",
        f"data:image/png;sha256={'A' * 64};length=9",
        f"data:image/png;sha256={'a' * 63};length=9",
        f"data:image/png;sha256={'a' * 64};length=09",
        f"data:image/png;sha256={'a' * 64};length=9\n",
    ],
)
def test_only_a_descriptor_reads_as_a_descriptor(text: str) -> None:
    assert references.parse_descriptor(text) is None


def test_a_content_hash_is_the_same_for_an_image_sent_and_kept() -> None:
    sent = references.parse(PNG)

    assert references.content_hash(PNG) == sent.sha256
    assert references.content_hash(str(KeptReference("image/png", sent.sha256, 9))) == sent.sha256
    assert references.content_hash("https://example.com/a.png") is None


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(FORMATS), st.binary(max_size=200), st.integers(0, 60))
@example("TIFF", b"", 8)
def test_hostile_bytes_are_read_or_refused_and_nothing_else(
    kind: str, noise: bytes, at: int
) -> None:
    real = image_of(kind)
    data = real[:at] + noise + real[at + len(noise) :]

    try:
        inline = references.parse(url_of(kind, data))
    except BadReference as refused:
        assert str(refused).encode()  # noqa: PT017 - either outcome is right
    else:
        assert inline.data == data


@given(st.text(max_size=80))
def test_any_text_after_data_is_refused_and_nothing_else(text: str) -> None:
    assert problem_of(f"data:{text}")
    assert problem_of(f"data:image/png;base64,{text}").encode()
