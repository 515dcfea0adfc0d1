"""How an image is sent back: as a URL or inside of the answer, and in which format."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.errors import FieldError
from models.images.pictures import Converted
from models.platform.wording import shown
from models.provider.catalog import Model

ResponseFormat = Literal["url", "b64_json"]
Shape = Literal["url", "b64_json", "bytes"]

_QUALITY = 90  # of a WebP, unless the call says: what eyes cannot tell from the original
_QUALITY_MAX = 100
_SHAPES: tuple[ResponseFormat, ...] = ("url", "b64_json")


@dataclass(frozen=True, slots=True)
class Conversion:
    """Another format than the kept image's; `quality` is that of a WebP, from 0 to 100."""

    kind: Converted
    quality: int = _QUALITY


@dataclass(frozen=True, slots=True)
class Output:
    """What a call asked its images to be."""

    shape: Shape
    conversion: Conversion | None = None


def read(
    raw: Mapping[str, object],
    default: ResponseFormat,
    model: Model,
    errors: list[FieldError],
    ignored: list[str],
) -> tuple[ResponseFormat, Output]:
    """Read `response_format`, `output_format` and `output_compression`; returns the first by itself too.

    The provider's older dialect says `output_format` for what is a `response_format` elsewhere. A
    format that the model itself draws is not converted.
    """
    shapes = [
        raw[name] for name in ("response_format", "output_format") if raw.get(name) in _SHAPES
    ]
    if "response_format" in raw and raw["response_format"] not in _SHAPES:
        errors.append(_wrong("response_format", raw, 'it is "url" or "b64_json"'))
    if len(set(map(str, shapes))) > 1:
        errors.append(_wrong("output_format", raw, "response_format says otherwise; keep one"))
    shape = next((each for each in _SHAPES if each in shapes), default)
    conversion = _conversion(raw, errors, ignored)
    return shape, Output(shape, None if drawn(raw, model) else conversion)


def drawn(raw: Mapping[str, object], model: Model) -> tuple[str, ...]:
    """Return the fields by which the model is asked for a format that it draws itself, if it does."""
    formats = model.own.get("output_format", {}).get("enum", ())
    return ("output_format",) if raw.get("output_format") in formats else ()


def preferred(accept: str, output: Output) -> Output:
    """Return the bytes alone where the client prefers an image to JSON; PNG and WebP are made then."""
    first = accept.partition(",")[0].partition(";")[0].strip().lower()
    if not first.startswith("image/"):
        return output
    conversion = output.conversion
    match first.removeprefix("image/"):
        case "png" | "webp" as kind if conversion is None:
            conversion = Conversion(kind)
    return Output("bytes", conversion)


def _conversion(
    raw: Mapping[str, object], errors: list[FieldError], ignored: list[str]
) -> Conversion | None:
    quality = raw.get("output_compression", _QUALITY)
    if type(quality) is not int or not 0 <= quality <= _QUALITY_MAX:
        errors.append(_wrong("output_compression", raw, "it is a whole number from 0 to 100"))
        quality = _QUALITY
    kind = raw.get("output_format", "jpeg")
    if "output_compression" in raw and kind != "webp":
        ignored.append("output_compression")
    match kind:
        case "png" | "webp":
            return Conversion(kind, quality)
        case "jpeg" | "url" | "b64_json":
            return None
        case "svg" | "gif":
            errors.append(_wrong("output_format", raw, "no model draws it; use jpeg, png or webp"))
        case _:
            errors.append(_wrong("output_format", raw, "it is jpeg, png or webp"))
    return None


def _wrong(name: str, raw: Mapping[str, object], message: str) -> FieldError:
    return FieldError(f"/{name}", f"{shown(raw[name])}: {message}.")
