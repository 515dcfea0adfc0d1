"""openai-python, with its base URL and key changed and nothing else."""

import base64
import io
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.e2e import stage as stages
from tests.e2e.stage import MODEL, PRICE, Stage
from tests.fixtures.drawing import draw

JPEG = b"\xff\xd8\xff"
TAG = "openai-python"


@pytest.fixture(scope="module")
def client(stage: Stage) -> Iterator[openai.OpenAI]:
    """OpenAI's client of the stage; what it has made is told to the witnesses."""
    with openai.OpenAI(base_url=f"{stage.client.base_url}/v1", api_key=stage.key) as made:
        yield made
    page = stage.client.get("/v1/jobs", params={"tag": TAG, "limit": 100}).json()
    stage.accepted += [each["id"] for each in page["data"]]


@pytest.fixture
def ours(stage: Stage) -> dict[str, object]:
    """Options that OpenAI does not know, in JSON as in a form."""
    return {"darkroom": {"webhook": {"url": stage.receiver.url}, "tags": [TAG]}}


def test_it_generates_and_edits(client: openai.OpenAI, ours: dict[str, object]) -> None:
    made = client.images.generate(
        model="gpt-image-1", prompt="a red bicycle", size="1024x1024", extra_body=ours
    )
    assert made.data is not None
    picture = base64.b64decode(made.data[0].b64_json or "")
    assert picture.startswith(JPEG)
    named = io.BytesIO(picture)
    named.name = "bicycle.jpg"
    edited = client.images.edit(
        model="dall-e-3",
        image=[named],
        prompt="the same at night",
        n=2,
        response_format="url",
        extra_body=ours,
    )
    assert edited.data is not None
    urls = [each.url or "" for each in edited.data]
    shown = [httpx.get(url, trust_env=False).content for url in urls]
    assert [each[:3] for each in shown] == [JPEG] * 2


_DIALECTS = {
    *("flux/schnell", "flux/kontext-pro/image-to-image", "alibaba/qwen-image-edit"),
    *("bytedance/seedream-v4-edit", "google/nano-banana-pro", "x-ai/grok-imagine-image"),
}


def test_it_calls_models_of_other_dialects(client: openai.OpenAI, ours: dict[str, object]) -> None:
    """Sizes as pixels or shapes, references as a list or a text, and answers in `images` or `data`."""
    # The provider quotes them one after the other.
    priced = lambda: {each.id for each in client.models.list()} >= _DIALECTS  # noqa: E731
    stages.eventually(priced, "the provider's prices")
    first = client.images.generate(
        model="flux/schnell", prompt="a red bicycle", size="1024x768", extra_body=ours
    )  # fmt: skip
    (drawn,) = first.model_dump()["data"]
    assert drawn["size"] == "1024x768"
    last = f"{drawn['job_id']}/images/0"
    for model, fields, size in (
        (
            "flux/kontext-pro/image-to-image",
            {"image_url": last, "aspect_ratio": "1:1"},
            "1024x1024",
        ),
        ("alibaba/qwen-image-edit", {"image": last}, "1024x1024"),
        ("bytedance/seedream-v4-edit", {"image_urls": [last]}, "1024x1024"),
        ("google/nano-banana-pro", {"resolution": "2K"}, "2048x2048"),
    ):
        made = client.images.generate(
            model=model, prompt="the same at night", extra_body=ours | fields
        ).model_dump()
        assert [each["size"] for each in made["data"]] == [size], model
        assert made["meta"]["usage"]["credits_used"] == PRICE
    two = client.images.generate(
        model="x-ai/grok-imagine-image",
        prompt="a blue bicycle",
        size="1024x1024",
        n=2,
        extra_body=ours,
    )
    assert len(two.data or ()) == 2


def test_it_draws_from_its_last_picture_without_sending_it(
    client: openai.OpenAI, ours: dict[str, object]
) -> None:
    made = client.images.generate(model="dall-e-3", prompt="a blue bicycle", extra_body=ours)
    assert made.data is not None
    last = (made.data[0].model_extra or {})["job_id"]
    again = client.images.generate(
        model="dall-e-3", prompt="at night", extra_body=ours | {"image_urls": [f"{last}/images/0"]}
    )
    assert again.data is not None
    assert again.data[0].url


def test_it_uploads_a_picture_and_draws_from_it(
    client: openai.OpenAI, ours: dict[str, object], stage: Stage
) -> None:
    picture = draw("png", (64, 48))
    file = client.files.create(file=("mug.png", picture), purpose="vision")
    assert (file.object, file.bytes, file.filename) == ("file", len(picture), "mug.png")
    assert client.files.content(file.id).read() == picture
    mug = f"{stage.simulator}/reference/blue-mug.jpg"
    fetched = stage.client.post("/v1/files", json={"url": mug}).json()
    assert [each.id for each in client.files.list(limit=1)] == [fetched["id"], file.id]
    made = client.images.generate(
        model="dall-e-3", prompt="a mug", extra_body=ours | {"image_urls": [file.id, fetched["id"]]}
    )
    edited = client.images.edit(
        model="dall-e-3", prompt="at night", image=(None, file.id.encode()), extra_body=ours
    )
    for answer in (made, edited):
        assert answer.data is not None
        job = (answer.data[0].model_extra or {})["job_id"]
        urls = stage.client.get(f"/v1/jobs/{job}").json()["input"]["image_urls"]
        assert urls[0].startswith("data:image/png;sha256=")
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_a_model_that_the_provider_quotes_is_called_at_its_quote(
    client: openai.OpenAI, ours: dict[str, object], stage: Stage
) -> None:
    quoted = "SELECT count(*) FROM prices WHERE model = 'bytedance/seedream-4-5' AND quoted > 0"
    stages.eventually(lambda: stage.number(quoted) == 1, "the price is told")
    made = client.images.generate(
        model="bytedance/seedream-4-5", prompt="a lighthouse", extra_body=ours
    )
    assert made.data is not None
    assert made.data[0].url
    assert (made.model_extra or {})["meta"]["usage"]["credits_used"] == PRICE


def test_it_streams(client: openai.OpenAI, ours: dict[str, object]) -> None:
    events = list(
        client.images.generate(
            model="gpt-image-1", prompt="a green one", stream=True, extra_body=ours
        )
    )
    (event,) = events
    assert event.type == "image_generation.completed"
    assert base64.b64decode(event.b64_json).startswith(JPEG)


def test_it_lists_models(client: openai.OpenAI) -> None:
    assert MODEL in [each.id for each in client.models.list()]
    assert client.models.retrieve(MODEL).owned_by


def test_it_reads_errors(client: openai.OpenAI, ours: dict[str, object]) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.images.generate(model="nope", prompt="x")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(
            model="dall-e-3", prompt="bad [sim: moderation_400]", extra_body=ours
        )
    assert refused.value.code == "content_refused"
    with pytest.raises(openai.APIError, match="sensitive"):
        list(
            client.images.generate(
                model="dall-e-3", prompt="bad [sim: moderation_400] 2", stream=True, extra_body=ours
            )
        )
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-none").images.generate(model="dall-e-3", prompt="x")
