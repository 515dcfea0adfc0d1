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
    """Take who is named for the job's customer, once; one that does not fit is hashed, and noted."""
    named: dict[str, str] = {}
    for name in _PEOPLE:
        value = raw.get(name, "")
        if not isinstance(value, str):
            errors.append(FieldError(f"/{name}", f"{shown(value)} is no string."))
        elif value:
            named[name] = value
    customers = {name: _customer(value) for name, value in named.items()}
    if options.customer is not None:
        customers = {"darkroom.customer": options.customer, **customers}
    for name, customer in customers.items():
        first = next(iter(customers))
        if customer != customers[first]:
            errors.append(FieldError(f"/{name}", f"{first} says otherwise; keep one of them."))
    if not named or options.customer is not None:
        return options
    name, value = next(iter(named.items()))
    metadata = dict(options.metadata)
    if customers[name] != value and len(metadata) < _PAIRS:
        metadata.setdefault(name, _UNKEEPABLE.sub("", value)[:_KEPT])
    return options.model_copy(update={"customer": customers[name], "metadata": metadata})


def _customer(value: str) -> str:
    if _CUSTOMER.fullmatch(value):
        return value
    return f"user_{sha256(value.encode(errors='surrogatepass')).hexdigest()[:32]}"
