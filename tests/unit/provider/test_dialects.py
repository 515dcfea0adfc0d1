"""Every model of the catalog: what it takes is what is published, and what is sent is in its dialect."""

from typing import Any

import jsonschema
import pytest

from models.errors import InvalidRequest
from models.provider import catalog, schemas
from models.provider.catalog import Model
from tests.fixtures.samples import LINK, sample

OTHER = "https://example.com/b.png"
OURS = {"model", "prompt", "image_urls", "image_size", "response_format"}


def find(name: str) -> Model:
    model = catalog.find(name)
    assert model is not None
    return model


def written(model: Model, /, **fields: object) -> dict[str, object]:
    return catalog.provider_body(catalog.check(sample(model, **fields)).input)


def refused(raw: dict[str, object]) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as wrong:
        catalog.check(raw)
    return {each.pointer: each.message for each in wrong.value.errors}


def test_what_is_sent_is_what_the_models_schema_takes() -> None:
    for model in catalog.models():
        body = written(model)
        closed: Any = {**model.schema, "additionalProperties": False}
        jsonschema.validate(body, closed)
        assert body.get("response_format", "url") == "url"
        assert body.get("convert_base64_to_url", True) is True
        assert body.get("sync_mode", False) is False
        assert {body.get("n", 1), body.get("num_images", 1)} == {1}, "a job is one image"


def test_an_input_is_described_by_the_schema_that_it_is_judged_by() -> None:
    for model in catalog.models():
        rules = schemas.of_input(model)
        jsonschema.validate(sample(model), rules)
        assert list(rules["properties"]) == list(model.accepted)  # type: ignore[call-overload]  # JSON
        jsonschema.Draft202012Validator.check_schema(rules)


def test_every_field_that_a_model_lacks_is_refused_by_its_name() -> None:
    everything = {name for model in catalog.models() for name in model.accepted}
    for model in catalog.models():
        for name in everything - set(model.accepted):
            (message,) = refused(sample(model) | {name: "x"}).values()
            assert f'there is no field "{name}"' in message


@pytest.mark.parametrize(
    ("name", "urls", "field", "value"),
    [
        ("bytedance/seedream-v4-edit", [LINK], "image_urls", [LINK]),
        ("flux/dev/image-to-image", [LINK], "image_url", LINK),
        ("flux/kontext-pro/image-to-image", [LINK], "image_url", LINK),
        ("flux/kontext-max/image-to-image", [LINK, OTHER], "image_url", [LINK, OTHER]),
        ("alibaba/qwen-image-edit", [LINK], "image", LINK),
    ],
)
def test_references_are_written_where_the_model_reads_them(
    name: str, urls: list[str], field: str, value: object
) -> None:
    body = written(find(name), image_urls=urls)
    assert body[field] == value
    assert {"image_urls", "image_url", "image"} & body.keys() == {field}


def test_a_model_that_edits_asks_for_a_picture_and_another_takes_none() -> None:
    raw = sample(find("bytedance/seedream-v4-edit"))
    del raw["image_urls"]
    assert refused(raw) == {"/input/image_urls": "image_urls is required; add it."}
    assert "/input/image_urls" in refused(sample(find("flux/dev"), image_urls=[LINK]))
    two = refused(sample(find("flux/dev/image-to-image"), image_urls=[LINK, LINK]))
    assert "there are 2 references; send 1 to 1" in two["/input/image_urls"]


@pytest.mark.parametrize(
    ("name", "fields", "pointer", "says"),
    [
        (
            "flux/dev",
            {"image_size": {"width": 1000, "height": 768}},
            "image_size/width",
            "in steps of 32",
        ),
        ("flux/dev", {"image_size": {"width": 2048}}, "image_size/width", "use 512 to 1536"),
        ("flux/dev", {"image_size": "2K"}, "image_size", '"2K" is not a size; use "square_hd"'),
        ("flux/dev", {"image_size": {}}, None, ""),
        (
            "alibaba/wan-2-6-image",
            {"image_size": {"width": 1024}},
            "image_size/height",
            "is required",
        ),
        ("flux/dev", {"guidance_scale": 21}, "guidance_scale", "the most is 20"),
        ("flux/dev", {"guidance_scale": "5"}, "guidance_scale", '"5" is not a number'),
        ("flux/dev", {"guidance_scale": float("inf")}, "guidance_scale", "beyond all bounds"),
        ("flux/dev", {"prompt": "a" * 4001}, "prompt", "this model takes 4,000 at most"),
        ("alibaba/wan-2-6-image", {"seed": -1}, "seed", "the least is 0"),
        (
            "alibaba/wan-2-6-image",
            {"negative_prompt": "a\x00"},
            "negative_prompt",
            "cannot be kept",
        ),
        (
            "alibaba/wan-2-6-image",
            {"enhance_prompt": None},
            "enhance_prompt",
            "leave the field out",
        ),
        (
            "google/nano-banana-pro",
            {"resolution": "8K"},
            "resolution",
            'is none of "1K", "2K", "4K"',
        ),
        ("recraft-v3", {"colors": [{"r": 1, "g": 2, "b": 256}]}, "colors/0/b", "the most is 255"),
        (
            "blackforestlabs/flux-2-lora",
            {"loras": [{"scale": 1}]},
            "loras/0/path",
            "path is required",
        ),
        ("x-ai/grok-imagine-image", {"image_size": "2K"}, "image_size", "there is no field"),
    ],
    ids=str,
)
def test_a_models_own_rules_hold(
    name: str, fields: dict[str, object], pointer: str | None, says: str
) -> None:
    model = find(name)
    if pointer is None:
        assert catalog.check(sample(model, **fields)).input["image_size"] == {}
        return
    found = refused(sample(model, **fields))
    assert found.keys() == {f"/input/{pointer}"}
    assert says in found[f"/input/{pointer}"]


def test_a_name_that_the_provider_kept_is_the_same_model() -> None:
    one, other = find("google/nano-banana-pro"), find("google/gemini-3-pro-image-preview")
    assert one is other
    raw = sample(one, model="google/gemini-3-pro-image-preview")
    assert written(one, model=raw["model"])["model"] == "google/gemini-3-pro-image-preview"
    prints = {catalog.fingerprint(one, sample(one)), catalog.fingerprint(one, raw)}
    assert len(prints) == 1


def test_what_decides_the_image_is_in_its_fingerprint() -> None:
    model = find("flux/dev")
    bare = {"model": model.id, "prompt": "a"}
    assert catalog.fingerprint(model, bare) == catalog.fingerprint(
        model, {**bare, "num_inference_steps": 50, "enable_safety_checker": True}
    ), "a default says nothing new"
    for name in model.own:
        assert catalog.fingerprint(model, bare) != catalog.fingerprint(
            model, {**bare, name: sample(model)[name]}
        )


def test_a_large_image_of_any_dialect_gets_the_longer_timeout() -> None:
    large = {"google/nano-banana-pro": {"resolution": "4K"}, "google/imagen4/preview": {}}
    assert [catalog.check(sample(find(n), **f)).large for n, f in large.items()] == [True, False]
