"""Forms (multipart/form-data, RFC 7578) read as the JSON body that they stand for.

A picture becomes the `data:` URL that JSON would have, so that one set of rules judges both. All of a form
is kept in memory, where its bytes are counted already, and none of it in files.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.contract.formats.strict_json import parse
from api.dependencies.bodies import ParsedRequest, media_type
from api.dropin.options import Written
from api.dropin.reading import REFUSED, refusal
from models.errors import FieldError, MalformedBody, MalformedForm
from models.images.references import BadReference, data_url, read_bytes
from models.platform.wording import pointer_to, printable, shown
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
_NO_FILE = "it came as a file, and only pictures do, as image; send it as text"


class _Wrong(ValueError):
    """A field that cannot be read; the text is for its sender."""

    def __init__(self, path: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.path = path if path[-1] else path[:-1]


class _InMemory(MultiPartParser):
    spool_max_size = 1 << 62  # bytes of a file beyond which it would go to a disk

    def on_part_end(self) -> None:
        """Take a part, whose text is UTF-8: Starlette would read any other as Latin-1."""
        part = self._current_part
        if part.file is None:
            try:
                (part.content_disposition or b"").decode()
                part.data.decode()
            except UnicodeDecodeError as wrong:
                raise MalformedForm(
                    f"The field {shown(part.field_name)} of the form, or its name, is not UTF-8: see its "
                    f"byte {wrong.start}."
                ) from None
        super().on_part_end()

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
    return media_type(request) == TYPE


async def read(request: Request) -> ParsedRequest:
    """Read a form. Raises `MalformedForm`, and `InvalidRequest` with each field that cannot be read."""
    read_ = ParsedRequest(request.scope, request.receive)
    async with opened(request) as form:
        read_.is_form, read_.parsed = True, await _fields(form)
    return read_


@asynccontextmanager
async def opened(request: Request) -> AsyncIterator[FormData]:
    """Read the parts of a form, all of them in memory. Raises `MalformedForm`."""
    parser = _InMemory(
        request.headers, request.stream(),
        max_files=_FILES_MAX, max_fields=_FIELDS_MAX, max_part_size=_TEXT_MAX,
    )  # fmt: skip
    try:
        form = await parser.parse()
    except MultiPartException as wrong:
        raise MalformedForm(f"The form cannot be read: {wrong.message}") from None
    except (KeyError, UnicodeDecodeError):
        raise MalformedForm(
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
    errors: list[FieldError] = []
    for written, value in form.multi_items():
        path = _path(written)
        try:
            if path[0] in _PICTURES:
                pictures.append(await _picture(value))
            else:
                _put(fields, path, value)
        except BadReference as bad:
            errors.append(FieldError(f"/image/{len(pictures)}", str(bad)))
            pictures.append("")
        except _Wrong as wrong:
            errors.append(FieldError(pointer_to(*map(printable, wrong.path)), f"{wrong}."))
    if errors:
        raise refusal(errors)
    said = {name: each for name, each in fields.items() if each != "" or name == "prompt"}
    return said | ({"image_urls": pictures} if pictures else {})


def _path(written: str) -> list[str]:
    """Read the name of a field: `a[b][]` is the name, then each key."""
    named = _NAME.fullmatch(written)
    return [written] if named is None else [named[1], *_KEY.findall(named[2])]


async def _picture(value: UploadFile | str) -> str:
    """Write a file as a `data:` URL: its bytes say what it is. Raises `BadReference`."""
    if isinstance(value, str):
        return value
    data = await value.read()
    await value.close()
    return await asyncio.to_thread(_as_url, data)


def _as_url(data: bytes) -> str:
    return data_url(read_bytes(data).mime, data)


def _put(fields: dict[str, object], path: Sequence[str], value: str | UploadFile) -> None:
    """Put `a[b][c]=1` where it belongs, once; `a[b][]=1` is one of a list. Raises `_Wrong`."""
    if isinstance(value, UploadFile):
        raise _Wrong(path, REFUSED.get(path[0], _NO_FILE))
    is_listed = len(path) > 1 and path[-1] == ""
    *outer, last = path[:-1] if is_listed else path
    here = fields
    for depth, step in enumerate(outer, 1):
        inner = here.setdefault(step, Written())
        if not isinstance(inner, Written):
            raise _Wrong(path[:depth], "it comes as one value and by its parts; keep one of them")
        here = inner
    if is_listed and isinstance(listed := here.setdefault(last, []), list):
        listed.append(value)
    elif last in here:
        raise _Wrong(path, "it comes twice in the form; send it once")
    elif len(path) == 1 or path[0] == "image_size":
        here[last] = _typed(last, value)
    else:
        here[last] = value


def _typed(name: str, value: str) -> object:
    """Return what a field would be in JSON; what is no number or switch where one belongs stays text."""
    if name in _NUMBERS:
        with suppress(ValueError):
            return int(value)
    if name == "darkroom" and value:
        try:
            return parse(value.encode(), "text")
        except MalformedBody as wrong:
            raise _Wrong([name], wrong.detail.rstrip(".")) from None
    return _SWITCHES.get(value, value) if name in _SWITCHED else value
