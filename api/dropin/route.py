"""Routes that take forms, or JSON in several dialects; both are read before FastAPI sees them."""

from fastapi import Request

from api.dependencies.bodies import JsonRoute, read_json
from api.dropin import forms, uploads
from models.errors import UnsupportedMedia
from models.platform.wording import shown


class DropInRoute(JsonRoute):
    """A route whose body is read as it is, for it comes in several dialects."""

    async def read(self, request: Request) -> Request:
        """Return the request with its body parsed. Raises the refusals of a body that is not taken."""
        if self.path.endswith("/edits") and forms.is_form(request):
            return await forms.read(request)
        return await read_json(request)


class UploadRoute(JsonRoute):
    """A route to which a file comes, in a form."""

    async def read(self, request: Request) -> Request:
        """Return the request with its form read. Raises the refusals of a body that is not taken."""
        if "POST" not in (self.methods or ()):
            return await super().read(request)
        if not forms.is_form(request):
            given = request.headers.get("content-type", "")
            raise UnsupportedMedia(
                f"The file came as {shown(given)}; send a form (multipart/form-data) with a `file`."
            )
        return await uploads.read(request)
