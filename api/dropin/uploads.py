"""Uploads of a file: a form with one file in it, as OpenAI's SDKs send it, or its URL in JSON."""

from typing import TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from api.contract.formats.field_errors import field_error
from api.contract.requests.files import FileFields, FileUrl
from api.dependencies.bodies import JSON_OR_FORM, ParsedRequest, no_body, read_json
from api.dropin import forms
from api.submitting.uploading import Upload, refusal
from models.errors import InvalidRequest

Said = TypeVar("Said", bound=FileFields)

_NAME_MAX = 255  # characters, as file systems have it


async def read(request: Request) -> ParsedRequest:
    """Read a form with one file, or JSON. Raises as `read_json`, and `InvalidRequest` for a wrong field."""
    if not forms.is_form(request):
        return await read_json(request, JSON_OR_FORM)
    read_ = ParsedRequest(request.scope, request.receive)
    async with forms.opened(request) as form:
        read_.is_form, read_.parsed = True, await _upload(form)
    return read_


def of(request: Request) -> Upload | FileUrl:
    """Return the upload that a request brought, or where it is. Raises `InvalidRequest`."""
    parsed = request.parsed if isinstance(request, ParsedRequest) else None
    if isinstance(parsed, dict):
        return _fields(FileUrl, parsed)
    if not isinstance(parsed, Upload):
        raise no_body("it brings no file; send a form with a `file`, or JSON with a `url`")
    return parsed


async def _upload(form: FormData) -> Upload:
    said: dict[str, object] = {}
    files: list[UploadFile] = []
    for name, value in form.multi_items():
        if name == "file" and isinstance(value, UploadFile):
            files.append(value)
        elif name == "file":
            raise refusal("/file", "it is text; send the bytes of a picture as a file.")
        elif isinstance(value, UploadFile) or name in said:
            raise refusal(f"/{name}", "it is a file, or comes twice; send one text.")
        elif value:
            said[name] = value
    if len(files) != 1:
        raise refusal("/file", f"there are {len(files)} files; send one.")
    (came,) = files
    return Upload(await came.read(), _name(came.filename), _fields(FileFields, said))


def _fields(kind: type[Said], said: dict[str, object]) -> Said:
    try:
        return kind.model_validate(said)
    except ValidationError as wrong:
        found = wrong.errors(include_url=False, include_context=False)
        errors = [field_error({**each, "loc": ("body", *each["loc"])}) for each in found]
        named = ", ".join(each.pointer.lstrip("/") for each in errors)
        raise InvalidRequest(
            f"The file cannot be kept: {named} cannot be used.", errors=tuple(errors)
        ) from None


def _name(given: str | None) -> str | None:
    """Return a file's name as far as it can be shown; None where nothing of it can."""
    return "".join(letter for letter in given or "" if letter.isprintable())[:_NAME_MAX] or None
