"""What a call may say beside its picture: any option of a job, and for whom it is made."""

import re
from collections.abc import Mapping
from hashlib import sha256

from pydantic import ValidationError

from api.contract.formats.field_errors import field_error
from api.contract.requests.jobs import Options
from models.errors import FieldError
from models.platform.wording import shown

_CUSTOMER = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
_KEPT = 512  # characters of a value in metadata
_PAIRS = 16  # of metadata
_PEOPLE = ("safety_identifier", "user")  # the later field is OpenAI's deprecated one


class Written(dict[str, object]):
    """Options that came as fields of a form: each value is text, whatever it means."""


def read(raw: Mapping[str, object], errors: list[FieldError]) -> Options:
    """Read `darkroom`, `safety_identifier` and `user`; a call is `interactive` unless it says otherwise."""
    given = raw.get("darkroom", {})
    options = Options(priority="interactive")
    if isinstance(given, dict):
        try:
            options = _validated(given)
        except ValidationError as refused:
            found = refused.errors(include_url=False, include_context=False)
            errors += [
                field_error({**each, "loc": ("body", "darkroom", *each["loc"])}) for each in found
            ]
    else:
        errors.append(FieldError("/darkroom", f"{shown(given)} is no object of a job's options."))
    return _for_whom(raw, options, errors)


def _validated(given: Mapping[str, object]) -> Options:
    said = {"priority": "interactive", **given}
    if isinstance(given, Written):
        return Options.model_validate(said, strict=False)
    return Options.model_validate(said)


def _for_whom(raw: Mapping[str, object], options: Options, errors: list[FieldError]) -> Options:
    """Take the first who is named for the job's customer; one that does not fit is hashed, and noted."""
    for name in _PEOPLE:
        if name in raw and not isinstance(raw[name], str):
            errors.append(FieldError(f"/{name}", f"{shown(raw[name])} is no string."))
            return options
    named = [each for each in _PEOPLE if raw.get(each)]
    if not named or options.customer is not None:
        return options
    value = str(raw[named[0]])
    if _CUSTOMER.fullmatch(value):
        return options.model_copy(update={"customer": value})
    hashed = f"user_{sha256(value.encode(errors='surrogatepass')).hexdigest()[:32]}"
    metadata = dict(options.metadata)
    if len(metadata) < _PAIRS:
        metadata.setdefault(named[0], _UNKEEPABLE.sub("", value)[:_KEPT])
    return options.model_copy(update={"customer": hashed, "metadata": metadata})
