"""`python -m worker.compare`: the schemas of the catalog beside those that the provider serves now."""

from deploy.simulator import Running
from models.provider import catalog
from models.settings import Settings
from worker.compare import comparing

FLUX = "flux/dev"


def asking(settings: Settings, url: str) -> Settings:
    return Settings.model_validate(settings.model_dump() | {"aimlapi_base_url": url})


async def test_what_the_provider_has_changed_is_told_field_by_field(
    settings: Settings, provider: Running
) -> None:
    loaded = asking(settings, provider.url)
    assert await comparing.compare(loaded) == []
    edits = {
        FLUX: {
            "strength": {"type": "number"},
            "guidance_scale": {"type": "number", "minimum": 2, "maximum": 20},
            "image_size": None,
            "prompt": {"type": "string", "maxLength": 4000, "description": "Other words."},
        }
    }
    provider.world.change({"edits": edits})
    lines = list(await comparing.compare(loaded))
    assert len(lines) == 3
    assert lines[0].startswith("flux/dev: guidance_scale was {")
    assert lines[0].endswith('and is {"maximum": 20, "minimum": 2, "type": "number"}')
    assert lines[1:] == [
        "flux/dev: image_size is gone",
        'flux/dev: strength is new: {"type": "number"}',
    ]


async def test_what_is_not_to_be_had_is_told_too(settings: Settings, provider: Running) -> None:
    loaded = asking(settings, f"{provider.url}/nowhere")
    lines = await comparing.compare(loaded)
    assert len(lines) == len(catalog.models())
    assert all("not to be had" in line for line in lines)
    (line,) = comparing.changes(catalog.models()[0], {"paths": {}})
    assert "has no schema" in line
