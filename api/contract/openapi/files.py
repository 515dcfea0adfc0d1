"""What OpenAPI says of the body that brings a file, which FastAPI does not read."""

from pydantic.json_schema import models_json_schema

from api.contract.requests.files import FileForm

_AT = "#/components/schemas/{model}"
WITH_FILE = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": {"$ref": _AT.format(model="FileForm")}}},
    }
}
SCHEMAS = models_json_schema([(FileForm, "validation")], ref_template=_AT)[1]["$defs"]
"""What it refers to."""
