"""A route whose JSON is read before FastAPI sees it: in several dialects, of which no model is written."""

from fastapi import Request

from api.dependencies.bodies import JsonRoute, read_json


class DropInRoute(JsonRoute):
    """A route whose body is read as it is, for it comes in several dialects."""

    async def read(self, request: Request) -> Request:
        """Return the request with its body parsed. Raises the refusals of a body that is not taken."""
        return await read_json(request)
