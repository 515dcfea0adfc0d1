"""The models Darkroom can call: the rules of their input, and their price.

A request is judged whole before anything is held or paid, and every field that is wrong is named at
once, with a pointer. Sources: the provider's published schemas, and for what those leave out (the
number of pixels, the references) the documents of its upstream.
"""

import difflib
import hashlib
import json
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from models.errors import FieldError, InvalidRequest
from models.images.references import (
    BadReference,
    Inline,
    content_hash,
    kept_in,
    parse,
    parse_descriptor,
    restore_input,
    urls_of,
    view_input,
)
from models.platform.addresses import Network
from models.platform.wording import shown
from models.provider.inputs import (
    AT,
    SEED_MAX,
    SEED_MIN,
    ImageSize,
    RawInput,
    SeedreamInput,
    check_fields,
    judge_link,
)
from models.provider.listing import Model, models
from models.provider.sizes import judge_size, resolve

__all__ = [
    "AT",
    "SEED_MAX",
    "SEED_MIN",
    "Checked",
    "ImageSize",
    "Inline",
    "Model",
    "RawInput",
    "SeedreamInput",
    "check",
    "estimate",
    "find",
    "fingerprint",
    "kept_in",
    "models",
    "no_such_model",
    "parse_descriptor",
    "provider_body",
    "reason",
    "refusal",
    "restore_input",
    "uncallable",
    "view_input",
]


_UNPRICED = (
    "the provider quotes no price for an image of it, and a hold must not be a guess; the operator can set "
    "one."
)

_CANONICAL = json.JSONEncoder(sort_keys=True)
_MODELS = models()
_BY_NAME = {name: model for model in reversed(_MODELS) for name in model.names}


@dataclass(frozen=True)
class Checked:
    """An input that broke no rule: `input` is as it was given, `links` the https references.

    `inline` and `links` carry each reference's place in `image_urls`.
    """

    model: Model
    input: dict[str, object] = field(repr=False)
    response_format: Literal["url", "b64_json"]
    large: bool
    inline: tuple[Inline, ...]
    links: tuple[tuple[int, str], ...]


def find(model_id: str) -> Model | None:
    """Return the model that the provider knows by this name; None when there is none."""
    return _BY_NAME.get(model_id)


def check(raw: object, exceptions: Sequence[Network] = (), known: Collection[int] = ()) -> Checked:
    """Judge the `input` of a submission, as parsed from JSON; references at the `known` places are good.

    Raises `InvalidRequest`, and nothing else, with one `FieldError` for each thing that is wrong.
    It reads and hashes inline references, some milliseconds for each megabyte: a large body belongs in
    a thread. It decodes none of them.
    """
    if not isinstance(raw, dict):
        raise refusal([FieldError(AT, f"{shown(raw)} is not an input; send a JSON object.")])
    name = raw.get("model")
    found = find(name) if isinstance(name, str) else None
    # With an unknown model the first one's rules judge the rest: one answer names every mistake.
    model = found or _MODELS[0]
    errors = list(check_fields(raw, model))
    if isinstance(name, str) and not found:
        errors.append(FieldError(f"{AT}/model", no_such_model(name)))
    if "image_size" in model.accepted:
        errors += judge_size(raw.get("image_size"), model, f"{AT}/image_size")
    inline, links = _sort_references(raw.get("image_urls"), model, errors, exceptions, known)
    if errors:
        raise refusal(errors)
    return Checked(
        model=model,
        input=dict(raw),
        response_format="b64_json" if raw.get("response_format") == "b64_json" else "url",
        large=is_large(model, raw),
        inline=inline,
        links=links,
    )


def refusal(errors: list[FieldError]) -> InvalidRequest:
    """Return the refusal of an input with these mistakes, of which there is at least one."""
    if len(errors) == 1:
        return InvalidRequest(errors[0].message, errors=tuple(errors))
    return InvalidRequest(f"{len(errors)} things are wrong with the input.", errors=tuple(errors))


def provider_body(given: Mapping[str, object]) -> dict[str, object]:
    """Return the body of the paid call: the input in its model's dialect, asking for a URL.

    A URL can be fetched again for 24 hours if keeping the image fails. A model that is in the catalog no
    more is asked as the default one is. Raises `ValueError` for an input whose descriptors were not
    restored: the provider could not read it.
    """
    if kept_in(given):
        raise ValueError("The input still describes its references; restore it first.")
    model = find(str(given.get("model"))) or _MODELS[0]
    return model.dialect.write(given)


def fingerprint(model: Model, given: Mapping[str, object]) -> bytes:
    """Hash what decides the image into 32 bytes: equal inputs are equal however they are written.

    It is the same for an input as sent and as stored; the stored one has nothing to decode.
    """
    canonical = {
        "version": 1,
        "model": model.id,
        "prompt": unicodedata.normalize("NFC", str(given["prompt"])),
        "size": resolve(given.get("image_size"), model),
        "seed": given.get("seed"),
        "watermark": given.get("watermark", False),
        "references": [content_hash(url) or url for url in urls_of(given)],
    }
    if own := {name: given[name] for name in model.own if _says(given, name, model)}:
        canonical["own"] = own
    return hashlib.sha256(_CANONICAL.encode(canonical).encode()).digest()


def _says(given: Mapping[str, object], name: str, model: Model) -> bool:
    """Return whether a field says something else than leaving it out does."""
    return name in given and given[name] != model.own[name].get("default")


def estimate(model: Model, given: Mapping[str, object]) -> int | None:  # noqa: ARG001 - see below
    """Return the credits that one attempt should cost; today no price depends on the input.

    None when nobody has published it.
    """
    return model.price


def uncallable(model: Model) -> FieldError:
    """Return the error of an input whose model cannot be called, with its reason."""
    why = f"{model.id} cannot be called at present: {reason(model)}"
    return FieldError(f"{AT}/model", why)


def reason(model: Model) -> str:
    """Return why a model without a price, or one that the provider withdraws, is not called."""
    return model.retired or _UNPRICED


def no_such_model(name: str) -> str:
    """Return the error of a model that is not in the catalog, and which one may have been meant."""
    ids = list(_BY_NAME)
    # Comparing takes time with the square of the length, and nobody mistypes that much.
    close = difflib.get_close_matches(name.lower()[:100], ids, n=1, cutoff=0.5)
    advice = (
        f'did you mean "{close[0]}"?' if close else "GET /v1/models lists those that can be called."
    )
    return f"{shown(name)} is not in the catalog; {advice}"


def _sort_references(
    urls: object,
    model: Model,
    errors: list[FieldError],
    exceptions: Sequence[Network],
    known: Collection[int],
) -> tuple[tuple[Inline, ...], tuple[tuple[int, str], ...]]:
    inline: list[Inline] = []
    links: list[tuple[int, str]] = []
    if not isinstance(urls, list) or not model.references_max:
        return (), ()
    if not 1 <= len(urls) <= model.references_max:
        rule = f"send 1 to {model.references_max}, or leave image_urls out."
        errors.append(FieldError(f"{AT}/image_urls", f"there are {len(urls)} references; {rule}"))
    # More are not even looked at: the list is refused, and decoding is what costs.
    for index, url in enumerate(urls[: model.references_max]):
        if not isinstance(url, str) or index in known:
            continue
        problem = None
        if url[:5].lower() == "data:":
            try:
                inline.append(parse(url, index))
            except BadReference as bad:
                problem = str(bad)
        elif not (problem := judge_link(url, exceptions)):
            links.append((index, url))
        if problem:
            errors.append(FieldError(f"{AT}/image_urls/{index}", problem))
    return tuple(inline), tuple(links)


def is_large(model: Model, given: Mapping[str, object]) -> bool:
    """Return whether a checked input takes longer than most."""
    size = resolve(given.get("image_size"), model)
    many = len(urls_of(given)) > model.large_references
    if str(given.get("resolution")).upper() in model.large_sizes:
        return True
    if isinstance(size, str):
        return many or size in model.large_sizes
    return many or size[0] * size[1] > model.large_area
