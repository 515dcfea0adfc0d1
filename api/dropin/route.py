"""Routes that take forms, or JSON in several dialects; both are read before FastAPI sees them."""

from fastapi import Request

from api.dependencies.bodies import JSON_OR_FORM, JsonRoute, read_json
from api.dropin import forms, uploads


class DropInRoute(JsonRoute):
    """A route whose body is read as it is, for it comes in several dialects."""

    async def read(self, request: Request) -> Request:
        """Return the request with its body parsed. Raises the refusals of a body that is not taken."""
        if not self.path.endswith("/edits"):
            return await read_json(request)
        if forms.is_form(request):
            return await forms.read(request)
        return await read_json(request, JSON_OR_FORM)


class UploadRoute(JsonRoute):
    """A route to which a file comes in a form, or the URL of one in JSON."""

    async def read(self, request: Request) -> Request:
        """Return the request with its form read. Raises the refusals of a body that is not taken."""
        if "POST" in (self.methods or ()):
            return await uploads.read(request)
        return await super().read(request)
