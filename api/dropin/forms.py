"""Forms (multipart/form-data, RFC 7578) read as the JSON body that they stand for.

A picture becomes the `data:` URL that JSON would have, so that one set of rules judges both. All of a form
is kept in memory, where its bytes are counted already, and none of it in files.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.contract.formats.strict_json import parse
from api.dependencies.bodies import ParsedRequest
from api.dropin.options import Written
from api.dropin.reading import refusal
from models.errors import FieldError, MalformedBody
from models.images import formats
from models.images.references import data_url
from models.provider.catalog import Model

TYPE = "multipart/form-data"
_PICTURES = {"image", "images", "image_urls"}  # all of them references, in their order
_FILES_MAX = 16  # two more than any model takes: what is too many is refused by its field
_FIELDS_MAX = 200
_TEXT_MAX = 64 * 1024  # bytes of a field that is no file: twice the longest prompt
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\]){0,4})")  # darkroom[webhook][events][]
_KEY = re.compile(r"\[([^\[\]]*)\]")
_NUMBERS = {"n", "num_images", "seed", "output_compression", "partial_images", "width", "height"}
_SWITCHES: dict[str, object] = {"true": True, "false": False}
_SWITCHED = {"stream", "watermark"}


class _InMemory(MultiPartParser):
    spool_max_size = 1 << 62  # bytes of a file beyond which it would go to a disk

    async def parse(self) -> FormData:
        """Read the form; a client that goes away, or is too slow, leaves nothing open."""
        try:
            return await super().parse()
        except BaseException:
            for each in self._files_to_close_on_error:
                each.close()
            raise


def is_form(request: Request) -> bool:
    """Return whether a request's body is a form."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == TYPE


async def read(request: Request) -> ParsedRequest:
    """Read a form. Raises `MalformedBody`, and `InvalidRequest` for a field that comes twice."""
    read_ = ParsedRequest(request.scope, request.receive)
    async with opened(request) as form:
        read_.is_form, read_.parsed = True, await _fields(form)
    return read_


@asynccontextmanager
async def opened(request: Request) -> AsyncIterator[FormData]:
    """Read the parts of a form, all of them in memory. Raises `MalformedBody`."""
    parser = _InMemory(
        request.headers, request.stream(),
        max_files=_FILES_MAX, max_fields=_FIELDS_MAX, max_part_size=_TEXT_MAX,
    )  # fmt: skip
    try:
        form = await parser.parse()
    except MultiPartException as wrong:
        raise MalformedBody(f"The form cannot be read: {wrong.message}") from None
    except (KeyError, UnicodeDecodeError):
        raise MalformedBody(
            "The form cannot be read: its Content-Type names no boundary, or a part no field."
        ) from None
    try:
        yield form
    finally:
        await form.close()


def type_own(fields: dict[str, object], model: Model) -> None:
    """Turn those fields of a form that only some models have into what they would be in JSON.

    By this model's schema: what is no text there was written as JSON; `True`, as Python has it, is a slip.
    """
    for name, rule in model.own.items():
        if name in fields:
            fields[name] = _as_json(fields[name], rule)


def _as_json(value: object, rule: Mapping[str, Any]) -> object:
    match value:
        case list():
            return [_as_json(each, rule.get("items", {})) for each in value]
        case str() if (kind := rule.get("type", "string")) != "string":
            with suppress(MalformedBody):  # then it is judged as the text that it is
                return parse((value.lower() if kind == "boolean" else value).encode())
    return value


async def _fields(form: FormData) -> dict[str, object]:
    fields: dict[str, object] = {}
    pictures: list[str] = []
    for written, value in form.multi_items():
        named = _NAME.fullmatch(written)
        name, keys = (written, []) if named is None else (named[1], _KEY.findall(named[2]))
        if name in _PICTURES:
            pictures.append(await _picture(value))
        elif isinstance(value, UploadFile):
            fields[name] = "a file"
        elif keys:
            _nest(fields, name, keys, value)
        elif name in fields:
            raise refusal([FieldError(f"/{name}", "it comes twice in the form; send it once.")])
        elif value or name == "prompt":
            fields[name] = _typed(name, value)
    return fields | ({"image_urls": pictures} if pictures else {})


async def _picture(value: UploadFile | str) -> str:
    """Write a file as a `data:` URL: its bytes say what it is, and its type only where they do not."""
    if isinstance(value, str):
        return value
    data = await value.read()
    await value.close()
    told = value.content_type or ""
    mime = formats.sniff(data[:16]) or (told if told.startswith("image/") else "image/png")
    return await asyncio.to_thread(data_url, mime, data)


def _nest(fields: dict[str, object], name: str, keys: list[str], value: str) -> None:
    """Put `a[b][c]=1` where it belongs; `a[]=1` is one of a list."""
    here = fields
    for step, following in zip([name, *keys], [*keys, None], strict=True):
        if following is None:
            here[step] = _typed(step, value) if name == "image_size" else value
        elif following == "":
            listed = here.setdefault(step, [])
            if isinstance(listed, list):
                listed.append(value)
            return
        else:
            inner = here.setdefault(step, Written())
            if not isinstance(inner, dict):
                raise refusal([FieldError(f"/{name}", "it comes as a value and as an object.")])
            here = inner


def _typed(name: str, value: str) -> object:
    """Return what a field would be in JSON; what is no number or switch where one belongs stays text."""
    if name in _NUMBERS:
        with suppress(ValueError):
            return int(value)
    if name == "darkroom":
        return parse(value.encode())
    return _SWITCHES.get(value, value) if name in _SWITCHED else value
