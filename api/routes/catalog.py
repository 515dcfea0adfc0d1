"""`/v1/models`: what can be called, by which rules, at what price."""

from fastapi import APIRouter, Response

from api.contract.answers import JsonAnswer
from api.contract.documentation import MODELS, REFUSALS
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import Reader
from models.provider import catalog
from models.provider.catalog import Model

router = APIRouter(prefix="/v1/models", tags=["models"], responses=REFUSALS, route_class=JsonRoute)


@router.get("", responses=MODELS)
async def list_models(caller: Reader) -> Response:  # noqa: ARG001 - any key that may read
    """List the models, with their input rules and their price in credits."""
    return JsonAnswer({"object": "list", "data": [_shown(each) for each in catalog.models()]})


def _shown(model: Model) -> dict[str, object]:
    return {
        "id": model.id,
        "object": "model",
        "title": model.title,
        "price": {"credits": model.price, "per": "image"},
        "rules": {
            "image_size": {
                "named": sorted(model.sizes),
                "side": {
                    "min": model.side_min, "max": model.side_max, "default": model.side_default,
                },
                "area": {"min": model.area_min, "max": model.area_max},
            },
            "image_urls": {"max": model.references_max},
            "input": catalog.SeedreamInput.model_json_schema(),
        },
    }  # fmt: skip
