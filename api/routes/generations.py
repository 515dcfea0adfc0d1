"""`/v1/images/…`: the provider's and OpenAI's own routes, held until the image is kept."""

from fastapi import APIRouter, Request, Response

from api.contract.openapi.generations import GENERATED, WITH_EDIT, WITH_GENERATION
from api.contract.openapi.refusals import REFUSALS
from api.dependencies.deps import Writer
from api.dropin import calling
from api.dropin.route import DropInRoute

router = APIRouter(
    prefix="/v1/images", tags=["images"], responses=REFUSALS, route_class=DropInRoute
)


@router.post("/generations", responses=GENERATED, openapi_extra=WITH_GENERATION)
async def generate_images(request: Request, caller: Writer) -> Response:
    """Generate images, and answer when they are kept: the provider's route, and OpenAI's.

    A job each, which goes on when its client goes away; the client's own retry joins it.
    """
    return await calling.call(request, caller, "generations")


@router.post("/edits", responses=GENERATED, openapi_extra=WITH_EDIT)
async def edit_images(request: Request, caller: Writer) -> Response:
    """Edit pictures that come with the request, and answer when the images are kept: OpenAI's route.

    Pictures come in a form, or as URLs in JSON; all else is as in `POST /v1/images/generations`.
    """
    return await calling.call(request, caller, "edits")
