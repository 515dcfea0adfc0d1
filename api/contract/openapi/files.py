"""What OpenAPI says of the body that brings a file, which FastAPI does not read."""

from pydantic.json_schema import models_json_schema

from api.contract.requests.files import FileForm, FileUrl

_AT = "#/components/schemas/{model}"
WITH_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"$ref": _AT.format(model="FileForm")}},
            "application/json": {"schema": {"$ref": _AT.format(model="FileUrl")}},
        },
    }
}
SCHEMAS = models_json_schema([(FileForm, "validation"), (FileUrl, "validation")], ref_template=_AT)[
    1
]["$defs"]
"""What it refers to."""
