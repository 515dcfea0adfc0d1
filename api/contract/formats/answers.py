"""JSON as every route answers it."""

from fastapi.responses import JSONResponse
from pydantic_core import to_json


class JsonAnswer(JSONResponse):
    """An answer in JSON, written by Pydantic: it takes a fifth of the time of Python's `json`."""

    def render(self, content: object) -> bytes:
        """Write it in UTF-8, without spaces."""
        return to_json(content)
