"""`/v1/models`: what can be called, by which rules, at what price; in the shape of OpenAI's list."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Response

from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import MODEL, MODELS
from api.contract.openapi.refusals import REFUSALS
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import EITHER, EITHER_SCOPE, Reading
from models.errors import ModelNotFound
from models.money import prices
from models.money.prices import Known
from models.provider import catalog, schemas
from models.provider.catalog import Model

router = APIRouter(
    prefix="/v1/models",
    tags=["models"],
    responses=REFUSALS,
    route_class=JsonRoute,
    dependencies=EITHER_SCOPE,
)

ModelId = Annotated[str, Path(alias="model", description="such as `bytedance/seedream-…`")]


@router.get("", responses=MODELS, openapi_extra=EITHER)
async def list_models(tx: Reading) -> Response:
    """List the models that can be called, with their rules and price, and why others cannot."""
    known = await prices.callable_models(tx)
    shown = [_shown(each, known[each.id]) for each in catalog.models() if each.id in known]
    others = [
        {"id": each.id, "title": each.title, "reason": catalog.reason(each)}
        for each in catalog.models()
        if each.id not in known
    ]
    return JsonAnswer({"object": "list", "data": shown, "unavailable": others})


@router.get("/{model:path}", responses=MODEL, openapi_extra=EITHER)
async def get_model(model_id: ModelId, tx: Reading) -> Response:
    """Show a model, with its input rules and its price in credits."""
    found = catalog.find(model_id)
    if model_id.endswith("/") or not model_id:
        raise HTTPException(404)  # as of any path with a slash at its end
    if found is None:
        raise ModelNotFound(catalog.no_such_model(model_id))
    price = (await prices.callable_models(tx)).get(found.id)
    if price is None:
        raise ModelNotFound(catalog.uncallable(found).message)
    return JsonAnswer(_shown(found, price))


def _shown(model: Model, price: Known) -> dict[str, object]:
    variants = [each.dump() for each in price.variants]
    return {
        "id": model.id,
        "object": "model",
        "created": round(model.listed_at.timestamp()),
        "owned_by": model.id.partition("/")[0],
        "title": model.title,
        "price": {"credits": price.present, "per": "image", "variants": variants},
        "rules": {
            **({"image_size": _sizes(model)} if model.side_max else {}),
            "image_urls": {"max": model.references_max},
            "input": schemas.of_input(model),
        },
    }  # fmt: skip


def _sizes(model: Model) -> dict[str, object]:
    sides = model.sides
    side: dict[str, object] = {"min": model.side_min, "max": model.side_max}
    if sides is not None and sides[0] == sides[1]:
        side["default"] = sides[0]
    if model.multiple > 1:
        side["multiple"] = model.multiple
    return {
        "named": sorted(model.sizes),
        "side": side,
        "area": {"min": model.area_min, "max": model.area_max},
    }
