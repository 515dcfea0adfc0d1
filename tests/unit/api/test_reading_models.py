"""The synchronous routes' bodies for models of other dialects: sizes, formats, and fields of their own."""

import json

import pytest

from api.dropin import forms, reading
from models.errors import InvalidRequest
from models.provider import catalog
from tests.fixtures.samples import LINK, sample

GROK, FLUX, QWEN = "x-ai/grok-imagine-image", "flux/dev", "alibaba/qwen-image-edit"
Body = dict[str, object]


def read(model: str, *, lenient: bool = False, **fields: object) -> reading.Asked:
    return reading.read({"model": model, "prompt": "a"} | fields, {}, lenient=lenient)


def input_(asked: reading.Asked) -> Body:
    given = asked.body.input
    assert isinstance(given, dict)
    assert catalog.check(given).input == given
    return given


def test_the_providers_own_body_of_any_model_is_its_input() -> None:
    for model in catalog.models():
        body = sample(model)
        given = input_(reading.read(dict(body), {}, lenient=False))
        assert given == body | {"response_format": "url"}


def test_a_form_has_the_fields_of_a_model_as_its_schema_has_them() -> None:
    for model in catalog.models():
        body = sample(model)
        own = {name: body[name] for name in model.own if name in body}
        form: Body = {n: v if isinstance(v, str) else json.dumps(v) for n, v in own.items()}
        forms.type_own(form, model)
        assert form == own, model.id


@pytest.mark.parametrize(
    ("field", "text", "meant"),
    [
        ("guidance_scale", "7.5", 7.5),
        ("num_inference_steps", "20", 20),
        ("enable_safety_checker", "True", True),
        ("num_inference_steps", "20.5", 20.5),
        ("guidance_scale", "NaN", "NaN"),
        ("num_inference_steps", "1_0", "1_0"),
        ("acceleration", "7", "7"),
    ],
)
def test_what_is_no_text_in_a_form_is_json(field: str, text: str, meant: object) -> None:
    model = catalog.find(FLUX)
    assert model is not None
    form: Body = {field: text, "prompt": "20"}
    forms.type_own(form, model)
    assert form == {field: meant, "prompt": "20"}
    assert type(form[field]) is type(meant)


@pytest.mark.parametrize("name", ["image_url", "image"])
def test_pictures_are_taken_under_the_name_that_the_model_has(name: str) -> None:
    body: Body = {"model": QWEN, "prompt": "a", name: LINK}
    assert reading.take_pictures(body) == name
    asked = reading.read(body, {}, lenient=False, pictures=name)
    assert input_(asked)["image_urls"] == [LINK]


@pytest.mark.parametrize(
    ("model", "fields", "meant"),
    [
        (FLUX, {"size": "1024x768"}, {"image_size": {"width": 1024, "height": 768}}),
        (FLUX, {"size": "square_hd"}, {"image_size": "square_hd"}),
        (GROK, {"size": "1920x1080"}, {"aspect_ratio": "16:9"}),
        (GROK, {"size": "1024x1024"}, {"aspect_ratio": "1:1"}),
        (GROK, {"size": "auto"}, {}),
        ("recraft-v3", {"style": "any"}, {"style": "any"}),
        ("flux/srpo", {"output_format": "png"}, {"output_format": "png"}),
        ("flux/srpo", {"output_format": "webp"}, {}),
    ],
    ids=str,
)
def test_a_field_is_the_models_own_where_it_has_one(model: str, fields: Body, meant: Body) -> None:
    given = input_(reading.read({"model": model, "prompt": "a", **fields}, {}, lenient=False))
    assert given == {"model": model, "prompt": "a", "response_format": "url"} | meant


def test_a_format_that_the_model_draws_is_not_converted() -> None:
    assert read("flux/srpo", output_format="png").output.conversion is None
    converted = read("flux/srpo", output_format="webp").output.conversion
    assert converted is not None
    assert converted.kind == "webp"


@pytest.mark.parametrize(
    ("model", "size", "lenient"),
    [
        (FLUX, "1000x700", {"image_size": {"width": 1024, "height": 704}}),
        (FLUX, "300x300", {"image_size": {"width": 512, "height": 512}}),
        (GROK, "1024x1000", {"aspect_ratio": "1:1"}),
        (QWEN, "1024x1024", {}),
    ],
)
def test_a_size_that_is_not_drawn_is_the_nearest_only_when_asked_for(
    model: str, size: str, lenient: Body
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(model, size=size)
    assert [each.pointer for each in refused.value.errors] == ["/size"]
    given = reading.read({"model": model, "prompt": "a", "size": size}, {}, lenient=True).body.input
    assert given == {"model": model, "prompt": "a", "response_format": "url"} | lenient


def test_how_an_answer_comes_is_no_callers_to_say() -> None:
    asked = read("flux/srpo", sync_mode=True, num_images=3)
    assert (asked.count, asked.ignored) == (3, ("sync_mode",))
    assert "sync_mode" not in input_(asked)
    with pytest.raises(InvalidRequest, match="provider"):
        read("alibaba/qwen-image", provider="the cheapest")


def test_another_models_field_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(FLUX, aspect_ratio="16:9", styles="any")
    assert {each.pointer for each in refused.value.errors} == {"/aspect_ratio", "/styles"}
