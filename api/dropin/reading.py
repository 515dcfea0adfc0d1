"""From a body in any of three dialects to what it asks for; every field that is wrong is named at once.

A field that changes nothing here is taken all the same, and named in `X-Darkroom-Ignored`; one that asks
for what cannot be had is refused, for whoever sends it expects to get it.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from api.contract.requests.jobs import Options, SubmitBody
from api.dropin import options, outputs, sizes
from api.dropin.outputs import Output
from models.errors import FieldError, InvalidRequest, ModelNotFound
from models.platform.wording import pointer_to, printable, shown
from models.provider import aliases, catalog
from models.provider.aliases import Alias
from models.provider.catalog import Model

COUNT_MAX = 10
_NAMED_MAX = 50  # unknown fields that are named
# As the provider has them; `image_size` and `response_format` have other names too. A model's own fields
# come beside them.
_INPUT = ("prompt", "image_urls", "seed", "watermark")
_PICTURES = ("image_urls", "images", "image", "image_url")
_READ = {
    "model", "image_size", "size", "n", "num_images", "response_format", "output_format",
    "output_compression", "user", "safety_identifier", "darkroom", "stream",
}  # fmt: skip
# How an answer comes is ours to say: `sync_mode` and `convert_base64_to_url` are of some models' schemas.
_IGNORED = {"quality", "style", "moderation", "background", "input_fidelity", "partial_images",
            "complexity", "sync_mode", "convert_base64_to_url"}  # fmt: skip
REFUSED = {
    "mask": "no model here changes only a part; leave it out, and say in the prompt what changes",
    "markup": "no model here reads it; say it in the prompt",
    "svg": "no model here draws SVG; use jpeg, png or webp",
    "frame_count": "no model here draws animations",
    "frame_duration_ms": "no model here draws animations",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A body that was read: the job that it asks for, `count` times, and how its images are sent.

    `names` tells under which name of the body each field of the input stands.
    """

    body: SubmitBody
    count: int
    output: Output
    stream: bool
    ignored: tuple[str, ...]
    names: Mapping[str, str]


def read(
    raw: Mapping[str, object],
    own: Mapping[str, object],
    *,
    lenient: bool,
    pictures: str = "image_urls",
) -> Asked:
    """Read a body; what of it is null was not said. `own` are the project's aliases.

    `lenient` scales sizes up that are too small; `pictures` is how the body calls its references. Raises
    `InvalidRequest` and `ModelNotFound`.
    """
    given = {name: value for name, value in raw.items() if value is not None}
    alias, model = model_of(given, own)
    errors = list(_unknown(given, model))
    ignored = sorted((_IGNORED - model.own.keys()) & given.keys())
    chosen, names = _size(given, model, errors, scale=lenient or alias.scale)
    shape, output = outputs.read(given, alias.response_format, model, errors, ignored)
    said = options.read(given, errors)
    count, stream = _count(given, errors), _stream(given, errors, ignored)
    if count > 1 and said.reuse == "exact":
        errors.append(FieldError("/darkroom/reuse", "it would make all images one; leave it out."))
    if errors:
        raise refusal(errors)
    named = (
        *_INPUT,
        *(name for name in model.own if name not in _READ),
        *outputs.drawn(given, model),
    )
    input_ = {name: given[name] for name in named if name in given}
    input_ = {"model": alias.model, **input_, **chosen, "response_format": shape}
    return Asked(
        body=_submission(input_, said),
        count=count,
        output=output,
        stream=stream,
        ignored=tuple(ignored),
        names={**names, "image_urls": pictures},
    )


def model_of(given: Mapping[str, object], own: Mapping[str, object]) -> tuple[Alias, Model]:
    """Return the model that a body names, and by which alias. Raises `InvalidRequest`, `ModelNotFound`."""
    name = given.get("model")
    if not isinstance(name, str):
        message = "is required; add it." if name is None else f"{shown(name)} is not a string."
        raise InvalidRequest(f"model {message}", errors=(FieldError("/model", f"model {message}"),))
    if (model := catalog.find(name)) is not None:
        return Alias(name, scale=False), model
    alias = aliases.find(name, own)
    model = None if alias is None else catalog.find(alias.model)
    if alias is None or model is None:
        message = catalog.no_such_model(name)
        raise ModelNotFound(message, errors=(FieldError("/model", message),))
    return alias, model


def take_pictures(body: dict[str, object]) -> str:
    """Put references where the provider has them now; returns the name under which they came.

    OpenAI's JSON has `images`, of URLs or files' ids in objects; the provider's older dialects `image`
    or `image_url`.
    Raises `InvalidRequest` for a body that has two of them.
    """
    named = [name for name in _PICTURES if body.get(name) is not None]
    if len(named) > 1:
        raise refusal([FieldError(f"/{named[1]}", f"{named[0]} says it too; keep one of them.")])
    if not named or named[0] == "image_urls":
        return "image_urls"
    came = body.pop(named[0])
    body["image_urls"] = [_url(each) for each in (came if isinstance(came, list) else [came])]
    return named[0]


def refusal(errors: list[FieldError]) -> InvalidRequest:
    """Refuse a body for these fields, of which there is at least one."""
    named = ", ".join(dict.fromkeys(each.pointer.lstrip("/") or "the body" for each in errors))
    if len(errors) == 1:
        return InvalidRequest(f"{named}: {errors[0].message}", errors=tuple(errors))
    return InvalidRequest(f"The request breaks a rule at {named}.", errors=tuple(errors))


def renamed(refused: InvalidRequest, names: Mapping[str, str]) -> InvalidRequest:
    """Point a refusal of the input to where the fields stand in the body."""
    pointed = type(refused)(
        refused.detail,
        errors=tuple(
            FieldError(_place(each.pointer, names), each.message) for each in refused.errors
        ),
    )
    pointed.extra = refused.extra
    return pointed


def _url(picture: object) -> object:
    """Return the URL or name of a picture as OpenAI writes it; what is anything else stays as it is."""
    if isinstance(picture, dict) and picture.keys() in ({"image_url"}, {"file_id"}):
        return next(iter(picture.values()))
    return picture


def _place(pointer: str, names: Mapping[str, str]) -> str:
    head, _, rest = pointer.removeprefix(f"{catalog.AT}/").partition("/")
    if not pointer.startswith(f"{catalog.AT}/"):
        return pointer if pointer in {catalog.AT, ""} else _option(pointer)
    name = names.get(head, head)
    # "1024x1024" has no width of its own to point to.
    return f"/{name}/{rest}" if rest and name != "size" else f"/{name}"


def _option(pointer: str) -> str:
    return f"/darkroom{pointer}" if pointer.startswith("/") else pointer


def _submission(input_: dict[str, object], said: Options) -> SubmitBody:
    return SubmitBody.model_construct(
        input=input_, **{name: getattr(said, name) for name in Options.model_fields}
    )


def _size(
    given: Mapping[str, object], model: Model, errors: list[FieldError], *, scale: bool
) -> tuple[dict[str, object], dict[str, str]]:
    """Return the size that was asked for, if one was, as an input has it, and what the body calls it."""
    field = "size" if "size" in given else "image_size"
    if field not in given:
        return {}, {}
    if "size" in given and "image_size" in given:
        errors.append(FieldError("/size", "image_size says it too; keep one of them."))
    chosen = {"image_size": given[field]}
    if field == "size":
        try:
            chosen = sizes.read(given[field], model, scale=scale)
        except ValueError as wrong:
            errors.append(FieldError("/size", str(wrong)))
    if "image_size" in chosen and model.side_max:
        chosen["image_size"], wrong_sizes = sizes.fit(
            chosen["image_size"], model, field, scale=scale
        )
        errors += wrong_sizes
    return chosen, dict.fromkeys(chosen, field)


def _count(given: Mapping[str, object], errors: list[FieldError]) -> int:
    """Read `n`, which the provider calls `num_images`."""
    counts = {name: given[name] for name in ("n", "num_images") if name in given}
    for name, count in counts.items():
        if type(count) is not int or not 1 <= count <= COUNT_MAX:
            message = f"{shown(count)} is not a whole number from 1 to {COUNT_MAX}."
            errors.append(FieldError(f"/{name}", message))
            return 1
    if len(set(counts.values())) > 1:
        errors.append(FieldError("/n", "num_images says otherwise; keep one of them."))
    return next((count for count in counts.values() if isinstance(count, int)), 1)


def _stream(given: Mapping[str, object], errors: list[FieldError], ignored: list[str]) -> bool:
    stream = given.get("stream", False)
    if not isinstance(stream, bool):
        errors.append(FieldError("/stream", f"{shown(stream)} is neither true nor false."))
    if "stream" in given and stream is not True:
        ignored.append("stream")
    return stream is True


def _unknown(given: Mapping[str, object], model: Model) -> Iterator[FieldError]:
    """Yield an error for each field that nobody knows, or that asks for what cannot be had."""
    known = [*_INPUT, *_PICTURES[1:], *sorted(_READ), *sorted(_IGNORED), *model.own]
    unknown = [name for name in given if name not in known]
    for name in unknown[:_NAMED_MAX]:
        place = pointer_to(printable(name))
        if message := REFUSED.get(name):
            yield FieldError(place, f"{message}.")
            continue
        close = difflib.get_close_matches(name.lower()[:100], known, n=1)
        advice = f'did you mean "{close[0]}"?' if close else "remove it."
        yield FieldError(place, f'there is no field "{printable(name)}"; {advice}')
    if given.get("background") == "transparent":
        yield FieldError("/background", "no model here draws transparency; leave it out.")
