"""A route that takes JSON, or a form, in several dialects; both are read before FastAPI sees them."""

from fastapi import Request

from api.dependencies.bodies import JsonRoute, read_json
from api.dropin import forms


class DropInRoute(JsonRoute):
    """A route whose body is read as it is, for it comes in several dialects."""

    async def read(self, request: Request) -> Request:
        """Return the request with its body parsed. Raises the refusals of a body that is not taken."""
        type_ = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if type_ == forms.TYPE and self.path.endswith("/edits"):
            return await forms.read(request)
        return await read_json(request)
