import json
import re
import unicodedata
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from models.errors import InvalidRequest
from models.images.references import data_url
from models.provider import catalog, listing
from models.provider.catalog import Checked
from models.provider.sizes import Sizes, judge_size

LITE = "bytedance/seedream-5-0-lite-preview"
LINK = "https://example.com/a.png"
GIF = (
    b"GIF89a\x14\x00\x10\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,"
    b"\x00\x00\x00\x00\x14\x00\x10\x00\x00\x02\x02D\x01\x00;"
)
INLINE = data_url("image/gif", GIF)


def body(**fields: object) -> dict[str, object]:
    return {"model": LITE, "prompt": "a cat", **fields}


def sized(**sides: object) -> dict[str, object]:
    return body(image_size=sides)


def problems(raw: object) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as refused:
        catalog.check(raw)
    errors = {error.pointer: error.message for error in refused.value.errors}
    assert len(errors) == len(refused.value.errors), "each field is named once"
    return errors


def lite() -> catalog.Model:
    model = catalog.find(LITE)
    assert model is not None
    return model


def test_seedream_lite_is_in_the_catalog_with_its_price() -> None:
    assert catalog.models()[0].id == LITE
    assert len(catalog.models()) == 53
    assert len({name for model in catalog.models() for name in model.names}) == 55
    assert lite().price == 91_000
    assert catalog.estimate(lite(), body()) == 91_000
    assert catalog.find("bytedance/seedream-9") is None
    assert isinstance(hash(lite()), int)


def test_a_model_is_listed_by_the_schema_that_is_published() -> None:
    for model in catalog.models():
        fields = model.schema["properties"]
        assert isinstance(fields, dict)
        assert fields["model"]["enum"] == list(model.names)
    assert catalog.find("bytedance/seedream-4-5").price is None  # type: ignore[union-attr]  # it is listed


def test_a_schema_that_was_changed_is_not_read(tmp_path: Path) -> None:
    told = json.loads(next(listing.FILES.glob("*.json")).read_bytes())
    told["schema"]["properties"]["image_urls"]["maxItems"] = 15
    (tmp_path / "x.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"x\.json: the schema is not the one that was published"):
        listing.read(tmp_path / "x.json")


@pytest.mark.parametrize(
    "raw",
    [
        body(),
        body(prompt="ç" * 16_384),
        body(prompt="\U0001fae8"),
        body(image_size="2K"),
        body(image_size="4K"),
        sized(),
        sized(width=1800),
        sized(height=4096),
        sized(width=1920, height=1920),
        sized(width=1440, height=2560),
        sized(width=4096, height=4096),
        body(response_format="url"),
        body(seed=0),
        body(seed=-(2**63)),
        body(seed=2**63 - 1),
        body(watermark=True),
        body(image_urls=[LINK] * 14),
        body(image_urls=["HTTPS://example.com:8443/ü?a=%20"]),
        body(image_urls=[INLINE, LINK]),
    ],
)
def test_a_good_input_passes_unchanged(raw: dict[str, object]) -> None:
    checked = catalog.check(raw)

    assert checked.input == raw
    assert checked.model.id == LITE


@pytest.mark.parametrize(
    ("raw", "pointer", "says"),
    [
        (None, "/input", "null is not an input; send a JSON object."),
        ([], "/input", "a list of 0 items is not an input"),
        ((), "/input", "a tuple is not an input"),
        ({"prompt": "a"}, "/input/model", "model is required; add it."),
        ({"model": LITE}, "/input/prompt", "prompt is required; add it."),
        (body(model=None), "/input/model", "null is not a string."),
        (body(model="bytedance/seedream-5-0-lite"), "/input/model", f'did you mean "{LITE}"?'),
        (body(model=LITE.upper()), "/input/model", f'did you mean "{LITE}"?'),
        (body(model="dall-e-3"), "/input/model", "is not in the catalog; "),
        (body(model="x" * 10**7), "/input/model", "is not in the catalog"),
        (body(promt="a"), "/input/promt", 'there is no field "promt"; did you mean "prompt"?'),
        (body(n=2), "/input/n", "the fields are model, prompt, image_urls"),
        (body(**{"a/b~c": 1}), "/input/a~1b~0c", "there is no field"),
        (body(**{"\ud800": 1}), "/input/\\ud800", 'no field "\\ud800"'),
        (body(prompt=7), "/input/prompt", "7 is not a string."),
        (body(prompt=""), "/input/prompt", "is blank"),
        (body(prompt=" \t\n\u3000\u00a0\u200b\ufeff"), "/input/prompt", "is blank"),
        (body(prompt="a" * 32_769), "/input/prompt", "has 32,769 bytes of UTF-8; at most 32,768"),
        (body(prompt="ç" * 16_385), "/input/prompt", "has 32,770 bytes"),
        (body(prompt="a" * 10_000_000), "/input/prompt", "has 10,000,000 bytes"),
        (body(prompt="a\x00b"), "/input/prompt", 'has NUL ("\\x00") at 1; remove it.'),
        (body(prompt="ab\ud83d"), "/input/prompt", "half of a surrogate pair"),
        (body(seed=True), "/input/seed", "true is not a whole number."),
        (body(seed="1"), "/input/seed", '"1" is not a whole number.'),
        (body(seed=1.0), "/input/seed", "1.0 is not a whole number."),
        (body(seed=None), "/input/seed", "seed is null; leave the field out instead."),
        (body(seed=2**63), "/input/seed", "9223372036854775808 does not fit 64 bits"),
        (body(seed=10**5000), "/input/seed", "over 21 digits does not fit 64 bits"),
        (body(watermark=1), "/input/watermark", "1 is not true or false."),
        (body(watermark=None), "/input/watermark", "is null; leave the field out"),
        (body(response_format="b64"), "/input/response_format", 'not "url" or "b64_json"'),
        (body(image_size=None), "/input/image_size", "is null; leave the field out"),
        (body(image_size=2048), "/input/image_size", '2048 is not a size, which is "2K", "4K" or'),
        (body(image_size="8K"), "/input/image_size", '"8K" is not a size; use "2K", "4K" or'),
        (body(image_size="2k"), "/input/image_size", '"2k" is not a size'),
        (
            sized(width=1440, height=1440),
            "/input/image_size",
            "is 2,073,600 pixels; the provider refuses below 3,686,400. Use 1920x1920, for",
        ),
        (
            sized(width=1440),
            "/input/image_size",
            "1440x2048 (height was left out and is 2048) is 2,949,120 pixels",
        ),
        (sized(width=4096, height=900), "/input/image_size/height", "height is 900; use 1440 to"),
        (sized(width=4097), "/input/image_size/width", "width is 4097; use 1440 to 4096 pixels."),
        (sized(width=True), "/input/image_size/width", "true is not a whole number."),
        (sized(width=2048.0), "/input/image_size/width", "2048.0 is not a whole number."),
        (sized(height=None), "/input/image_size/height", "is null; leave the field out"),
        (sized(widht=2048), "/input/image_size/widht", 'did you mean "width"?'),
        (sized(**{"\ud800": 1}), "/input/image_size/\\ud800", "there is no field"),
        (body(image_urls=LINK), "/input/image_urls", "is not a list of URLs."),
        (body(image_urls=[]), "/input/image_urls", "there are 0 references; send 1 to 14"),
        (body(image_urls=[LINK] * 15), "/input/image_urls", "there are 15 references"),
        (body(image_urls=[1, LINK]), "/input/image_urls/0", "1 is not a string."),
        (body(image_urls=[LINK, None]), "/input/image_urls/1", "null is not a string."),
        (body(image_urls=["http://example.com/a"]), "/input/image_urls/0", "send an https:// URL"),
        (body(image_urls=["file:///etc/passwd"]), "/input/image_urls/0", "send an https:// URL"),
        (body(image_urls=["a.png"]), "/input/image_urls/0", "send an https:// URL"),
        (body(image_urls=[""]), "/input/image_urls/0", "send an https:// URL"),
        (body(image_urls=["https:///a.png"]), "/input/image_urls/0", "names no host"),
        (body(image_urls=["https://[1/"]), "/input/image_urls/0", "is not a URL"),
        (body(image_urls=["https://a:99999/"]), "/input/image_urls/0", "is not a URL"),
        (body(image_urls=["https://a/b c"]), "/input/image_urls/0", "percent-encode it"),
        (body(image_urls=["https://a/\x00"]), "/input/image_urls/0", '"\\x00" at 10'),
        (body(image_urls=["https://a/\udfff"]), "/input/image_urls/0", '"\\udfff" at 10'),
        (body(image_urls=["https://a/" + "a" * 8192]), "/input/image_urls/0", "at most 8,192"),
        (body(image_urls=["data:image/gif;base64,R0lG"]), "/input/image_urls/0", "are no image"),
        (body(image_urls=["data:image/gif;base64,%"]), "/input/image_urls/0", "is not base64"),
    ],
)
def test_a_bad_input_is_refused_with_the_field_the_value_and_what_to_do(
    raw: object, pointer: str, says: str
) -> None:
    errors = problems(raw)

    assert list(errors) == [pointer]
    assert says in errors[pointer]


def test_one_answer_names_every_field_that_is_wrong() -> None:
    errors = problems(
        {
            "model": "seedream",
            "prompt": " ",
            "promt": "a cat",
            "image_size": {"width": True, "height": 1, "depth": 3},
            "image_urls": [*["http://a"] * 2, LINK, 5],
            "seed": 2**64,
            "watermark": "yes",
            "response_format": "png",
        }
    )

    assert set(errors) == {
        "/input/model",
        "/input/prompt",
        "/input/promt",
        "/input/image_size/width",
        "/input/image_size/height",
        "/input/image_size/depth",
        "/input/image_urls/0",
        "/input/image_urls/1",
        "/input/image_urls/3",
        "/input/seed",
        "/input/watermark",
        "/input/response_format",
    }


def test_the_detail_is_the_message_when_one_thing_is_wrong_and_a_count_otherwise() -> None:
    with pytest.raises(InvalidRequest, match="null is not an input"):
        catalog.check(None)
    with pytest.raises(InvalidRequest, match="2 things are wrong with the input"):
        catalog.check({})


def test_a_flood_of_mistakes_gets_a_short_answer() -> None:
    errors = problems(
        body(image_urls=[0] * 100_000, **{f"field{number}": 1 for number in range(100_000)})
    )

    assert len(errors) == 50 + 14 + 1


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("http://127.0.0.1:9/a.png", True),
        ("http://localhost/a.png", True),
        ("http://10.0.0.1/a.png", False),
        ("http://93.184.216.34/a.png", False),
        ("http://example.com/a.png", False),
        ("https://example.com/a.png", True),
    ],
)
def test_plain_http_is_for_what_the_operator_opened(url: str, *, taken: bool) -> None:
    given_, opened = body(image_urls=[url]), (ip_network("127.0.0.0/8"),)
    if taken:
        assert catalog.check(given_, opened).links == ((0, url),)
        return
    with pytest.raises(InvalidRequest) as refused:
        catalog.check(given_, opened)
    assert [each.pointer for each in refused.value.errors] == ["/input/image_urls/0"]


def test_references_are_sorted_into_links_and_images() -> None:
    checked = catalog.check(body(image_urls=[LINK, INLINE], response_format="b64_json"))

    assert checked.links == ((0, LINK),)
    assert [(i.index, i.mime, i.data) for i in checked.inline] == [(1, "image/gif", GIF)]
    assert checked.response_format == "b64_json"


@pytest.mark.parametrize(
    ("raw", "large"),
    [
        (body(), False),
        (body(image_size="2K"), False),
        (sized(width=2848, height=1600), False),
        (body(image_urls=[LINK] * 4), False),
        (body(image_urls=[LINK] * 5), True),
        (body(image_size="4K"), True),
        (sized(width=4096, height=2304), True),
        (sized(width=4096, height=4096), True),
    ],
)
def test_what_takes_longer_is_large(raw: dict[str, object], *, large: bool) -> None:
    assert catalog.check(raw).large is large


def test_the_provider_is_always_asked_for_a_url_and_never_with_a_descriptor() -> None:
    checked = catalog.check(body(image_urls=[INLINE], response_format="b64_json", seed=7))
    inline = checked.inline[0]
    stored = catalog.view_input(checked.input, {inline.index: inline.sha256})

    with pytest.raises(ValueError, match="restore it first"):
        catalog.provider_body(stored)
    restored = catalog.restore_input(stored, {inline.sha256: inline.data})
    assert catalog.provider_body(restored) == body(
        image_urls=[INLINE], response_format="url", seed=7
    )
    assert catalog.provider_body(body()) == body(response_format="url")


E_ACUTE = "caf\u00e9"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (body(prompt=E_ACUTE), body(prompt=unicodedata.normalize("NFD", E_ACUTE))),
        (body(), sized()),
        (body(), sized(width=2048, height=2048)),
        (sized(width=4096), sized(height=2048, width=4096)),
        (body(), body(watermark=False)),
        (body(response_format="url"), body(response_format="b64_json")),
        (
            body(image_urls=[INLINE]),
            body(image_urls=[data_url("image/gif", GIF)], response_format="url"),
        ),
    ],
)
def test_the_same_wish_has_the_same_fingerprint(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert catalog.fingerprint(lite(), one) == catalog.fingerprint(lite(), other)
    assert len(catalog.fingerprint(lite(), one)) == 32


def test_different_wishes_have_different_fingerprints() -> None:
    wishes = [
        body(),
        body(prompt="a cat "),
        body(seed=0),
        body(seed=1),
        body(watermark=True),
        body(image_size="2K"),
        body(image_size="4K"),
        sized(width=2560),
        sized(height=2560),
        body(image_urls=[LINK]),
        body(image_urls=[INLINE]),
        body(image_urls=[LINK, INLINE]),
        body(image_urls=[INLINE, LINK]),
    ]

    assert len({catalog.fingerprint(lite(), wish) for wish in wishes}) == len(wishes)


def test_an_input_keeps_its_fingerprint_when_it_is_stored() -> None:
    checked = catalog.check(body(image_urls=[LINK, INLINE]))
    stored = catalog.view_input(checked.input, {1: checked.inline[0].sha256})

    assert catalog.fingerprint(lite(), stored) == catalog.fingerprint(lite(), checked.input)
    assert "base64" not in json.dumps(stored)


def test_openapi_shows_the_rules_and_the_value_arrives_as_it_was_sent() -> None:
    class Submission(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid")
        input: catalog.RawInput

    app = FastAPI()

    @app.post("/jobs")
    async def submit(_: Submission) -> None: ...

    schemas = app.openapi()["components"]["schemas"]
    shape = schemas["SeedreamInput"]["properties"]
    assert schemas["Submission"]["properties"]["input"]["$ref"].endswith("/SeedreamInput")
    assert schemas["SeedreamInput"]["required"] == ["model", "prompt"]
    # Other models have other fields.
    assert schemas["SeedreamInput"]["additionalProperties"] is True
    assert shape["seed"]["type"] == "integer"
    assert "default" not in shape["seed"]
    assert (shape["image_urls"]["minItems"], shape["image_urls"]["maxItems"]) == (1, 14)
    width = schemas["ImageSize"]["properties"]["width"]
    model = lite()
    assert (width["minimum"], width["maximum"], width["default"]) == (
        model.side_min,
        model.side_max,
        (model.sides or (0,))[0],
    )
    assert [one.get("enum") for one in shape["image_size"]["oneOf"]] == [None, list(model.sizes)]
    for shown in schemas["SeedreamInput"]["examples"]:
        assert catalog.check(shown).input == shown
    assert Submission(input={"promt": True}).input == {"promt": True}


SMALL = Sizes(sizes={}, side_min=10, side_max=100, sides=(50, 50), area_min=400, area_max=900)


@settings(deadline=None)
@given(st.integers(10, 100), st.integers(10, 100))
@example(30, 30)
@example(31, 30)
@example(100, 100)
def test_the_size_a_refusal_proposes_is_allowed(width: int, height: int) -> None:
    found = [e.message for e in judge_size({"width": width, "height": height}, SMALL, "")]

    assert bool(found) is not (400 <= width * height <= 900)
    for message in found:
        better = re.search(r"Use (\d+)x(\d+),", message)
        assert better is not None
        proposed = {"width": int(better[1]), "height": int(better[2])}
        assert list(judge_size(proposed, SMALL, "")) == []


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs", "Cc", "Lu"]))
    | st.sampled_from([LITE, LINK, INLINE, "2K", "url", "data:image/png;base64,AAAA"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
SIZES = st.fixed_dictionaries(
    {}, optional={"width": st.integers(1000, 5000) | JSON, "height": st.integers(1000, 5000) | JSON}
)
INPUTS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.just(LITE) | JSON,
        "prompt": st.text() | JSON,
        "image_size": SIZES | JSON,
        "image_urls": st.lists(st.sampled_from([LINK, INLINE]), max_size=16) | JSON,
        "seed": st.integers() | JSON,
        "watermark": JSON,
        "response_format": st.sampled_from(["url", "b64_json"]) | JSON,
        "other": JSON,
    },
)


def outcome(raw: object) -> Checked | InvalidRequest:
    try:
        return catalog.check(raw)
    except InvalidRequest as refused:
        return refused


@settings(deadline=None, max_examples=150)
@given(JSON | INPUTS | st.dictionaries(st.text(st.characters()), JSON))
def test_any_json_passes_or_is_refused_with_pointers(raw: Any) -> None:  # noqa: ANN401 - any JSON
    result = outcome(raw)

    if isinstance(result, InvalidRequest):
        assert result.errors
        for error in result.errors:
            assert error.pointer.startswith("/input")
            written = (error.pointer + error.message).encode()
            assert b"\x00" not in written
            assert len(written) < 1000
    else:
        assert result.input == raw
        assert json.dumps(raw, ensure_ascii=False, allow_nan=False).encode()


@settings(deadline=None, max_examples=150)
@given(SIZES)
@example({"width": 1920, "height": 1920})
@example({"width": 1919, "height": 1920})
def test_an_accepted_size_keeps_to_sides_and_area(size: dict[str, Any]) -> None:
    result = outcome(body(image_size=size))
    assume(all(type(side) is int for side in size.values()))

    width, height = size.get("width", 2048), size.get("height", 2048)
    allowed = (
        1440 <= width <= 4096
        and 1440 <= height <= 4096
        and 3_686_400 <= width * height <= 16_777_216
    )
    assert isinstance(result, Checked) is allowed
