"""What a paid call came to: a value, one class per way to go on.

    Outcome
    ├── Image      there is an image: keep it, succeed
    ├── TryLater   no image, and trying again makes sense
    ├── Unusable   no image, but a price: another call would be paid too, so fail the job
    ├── Refused    no image, and trying again cannot help: fail the job
    ├── Parked     not the job's fault: wait until the operator or the wallet has recovered
    └── Unknown    it was sent, and nobody can say what became of it

Match on the class, exhaustively. `charge` says what is known about the money, `receipt` what the
answer's own headers and body said, whatever the outcome.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypeAlias

from models.jobs.attempts.evidence import Evidence

Charge: TypeAlias = Literal["none", "unknown", "settled"]

EMPTY_ANSWER = "empty_answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the provider told about the call itself; None for all that it did not tell.

    `credits` is a whole number of the provider's credits (2,000,000 to the US dollar).
    `inference_id` is the reference in the provider's own ledger. `http_status` is None when no
    answer came.
    """

    http_status: int | None = None
    inference_id: str | None = None
    request_id: str | None = None
    credits: int | None = None


@dataclass(frozen=True, slots=True)
class Detail:
    """One of the provider's field errors.

    `path` is dotted (`image_urls.0`), and empty for the whole.
    """

    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What all outcomes carry; `evidence` when it may have been paid, and no image was found in it."""

    receipt: Receipt = field(default_factory=Receipt)
    evidence: Evidence | None = None

    @property
    def credits(self) -> int | None:
        """The credits that the answer told, or None."""
        return self.receipt.credits

    def _charge_if_told(self) -> Charge:
        # Answers that are documented as free: believed, unless the answer itself names a price.
        return "settled" if self.receipt.credits else "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image(_Outcome):
    """An image, at `url`, or in `b64` (base 64), or both; `size` as told (`2048x2048`), or None."""

    # Neither is shown: one is a signed URL that anybody can fetch, the other is megabytes.
    url: str | None = field(default=None, repr=False)
    b64: str | None = field(default=None, repr=False)
    size: str | None = None

    @property
    def charge(self) -> Charge:
        """Unknown only when the answer did not tell its price: the provider's log will."""
        return "unknown" if self.receipt.credits is None else "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class TryLater(_Outcome):
    """No image this time.

    `reason`: `slow_down`, `provider_error`, `empty_answer`, `moderation_down`, `not_sent`, or `storage`:
    it was never tried, for a reference could not be read from the store.
    `counts` says whether it counts against `max_attempts`; `sent` is False when not a byte of the
    request had left.
    """

    reason: str
    message: str = ""
    retry_after: timedelta | None = None
    counts: bool = True
    sent: bool = True

    @property
    def charge(self) -> Charge:
        """None, but for a success without an image: that may have been billed."""
        if self.reason == EMPTY_ANSWER and self.receipt.credits is None:
            return "unknown"
        return self._charge_if_told()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable(_Outcome):
    """A success that names a price, and no image can be found in it: another call would be paid too."""

    message: str

    @property
    def charge(self) -> Charge:
        """As the answer says."""
        return self._charge_if_told()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(_Outcome):
    """The provider will never make this image; `message` and `details` are its own words."""

    code: Literal["invalid_input", "content_refused", "model_unavailable"]
    message: str
    details: tuple[Detail, ...] = ()

    @property
    def charge(self) -> Charge:
        """Documented as never charged."""
        return self._charge_if_told()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked(_Outcome):
    """No job can run until the wallet is filled or the provider's key is put right.

    `said` are the provider's own words, for the job's project. Not `certain`: it may be about this one
    call, and is to be confirmed. Not `for_all`: only this job's project is held.
    """

    reason: Literal["wallet_empty", "provider_key"]
    message: str
    said: str = ""
    certain: bool = False
    for_all: bool = True

    @property
    def charge(self) -> Charge:
        """Documented as never charged."""
        return self._charge_if_told()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(_Outcome):
    """The request left, and what came of it cannot be known from here.

    `reason`: `deadline`, `connection_lost`, `too_large`, `unreadable`, `gateway_timeout`,
    `edge_error` or `unlisted`.
    """

    reason: str
    message: str

    @property
    def charge(self) -> Charge:
        """Unknown even if a header named a price: the provider's log has the last word."""
        return "unknown"


Outcome: TypeAlias = Image | TryLater | Unusable | Refused | Parked | Unknown
