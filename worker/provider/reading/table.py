"""How an answer of the provider is read: one table, one function.

The first row that fits decides, so the order matters: an image is an image whatever else the
answer says, and a refusal for content comes dressed as any status. An answer that no row fits is
`Unknown`, and asks for a row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from worker.provider import outcomes
from worker.provider.outcomes import Image, Outcome, Parked, Refused, TryLater, Unknown, Unusable
from worker.provider.reading import answers, edges, words
from worker.provider.reading.answers import ProviderAnswer
from worker.provider.reading.images import Found

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# What a request that timed out on the provider's side is answered with.
_GATEWAY_TIMEOUTS = frozenset({408, 504, 524})
# Cloudflare's own, about the origin: it may have finished, and billed.
_EDGE = range(520, 528)
_SERVER_ERRORS = range(500, 600)
# In which the provider's own words may be of money as well; a 402 is always.
_PERHAPS_MONEY = frozenset({400, 422, 500, 502, 503})
_CLIENT_ERRORS = range(400, 500)


def read(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Return what a complete answer means.

    `body` is the whole body, decoded from any transfer and content coding. Never raises; logs one
    line, without the body, for an answer that the table does not know.
    """
    answer = answers.parse(status, headers, body)
    outcome = next(row.then(answer) for row in _TABLE if row.when(answer))
    if answer.success and not isinstance(outcome, Image) and outcome.charge != "none":
        return replace(outcome, evidence=answer.evidence)
    return outcome


def read_part(
    status: int, headers: Mapping[str, str], part: bytes, reason: str, message: str
) -> Outcome:
    """Return what an answer means of which only `part` came; `reason` and `message` say why.

    It is `Unknown`, but for a success with its image's URL, and for one that names a price: a caller that
    calls again would pay again. Never raises.
    """
    answer = answers.parse(status, headers, part)
    if answer.image is not None:
        return _image(answer)
    evidence = answer.evidence if answer.success and part else None
    if answer.paid:
        told = f"The call was charged, and no image is in what came of its answer. {message}"
        return Unusable(message=told, receipt=answer.receipt, evidence=evidence)
    return Unknown(reason=reason, message=message, receipt=answer.receipt, evidence=evidence)


@dataclass(frozen=True, slots=True)
class _Row:
    """An answer, and what it is read as."""

    when: Callable[[ProviderAnswer], bool]
    then: Callable[[ProviderAnswer], Outcome]


def _image(answer: ProviderAnswer) -> Outcome:
    found = answer.image or answer.bare_image or Found()
    return Image(url=found.url, b64=found.b64, size=found.size, receipt=answer.receipt)


def _try_later(reason: str, *, counts: bool = True) -> Callable[[ProviderAnswer], Outcome]:
    return lambda answer: TryLater(
        reason=reason,
        message=answer.message,
        retry_after=answer.retry_after,
        counts=counts,
        receipt=answer.receipt,
    )


def _invalid(answer: ProviderAnswer) -> Outcome:
    return Refused(
        code="invalid_input",
        message=answer.message,
        details=answer.details,
        receipt=answer.receipt,
    )


def _unusable(answer: ProviderAnswer) -> Outcome:
    said = f" It says: {answer.message}" if answer.readable and answer.has_words else ""
    message = f"The call was charged, and no image could be found in the provider's answer.{said}"
    return Unusable(message=message, receipt=answer.receipt)


def _content_refused(answer: ProviderAnswer) -> Outcome:
    return Refused(code="content_refused", message=answer.message, receipt=answer.receipt)


def _model_gone(answer: ProviderAnswer) -> Outcome:
    return Refused(code="model_unavailable", message=answer.message, receipt=answer.receipt)


# The provider's words about its key or account are for the operator, not for the job's project.
def _wallet_empty(answer: ProviderAnswer) -> Outcome:
    message = "The provider's wallet has no credits for this call."
    return Parked(reason="wallet_empty", message=message, receipt=answer.receipt)


def _key_bad(answer: ProviderAnswer) -> Outcome:
    message = f"The provider does not accept our key (HTTP status {answer.status})."
    return Parked(reason="provider_key", message=message, certain=True, receipt=answer.receipt)


def _forbidden(answer: ProviderAnswer) -> Outcome:
    message = f"The provider does not accept our key (HTTP status {answer.status})."
    said = edges.refusal(answer)
    return Parked(reason="provider_key", message=message, said=said, receipt=answer.receipt)


def _unknown(reason: str, message: str) -> Callable[[ProviderAnswer], Outcome]:
    return lambda answer: Unknown(
        reason=reason, message=f"{message} (HTTP status {answer.status}).", receipt=answer.receipt
    )


def _unlisted(answer: ProviderAnswer) -> Outcome:
    # Not the body: it may repeat the prompt. Its shape is what a new row needs.
    log.warning(
        "provider.answer_unlisted",
        effect="the charge is looked up; a row in this table would read it at once",
        status=answer.status,
        content_type=answer.headers.get("content-type"),
        length=len(answer.raw),
        fields=sorted(answer.json)[:20] if isinstance(answer.json, dict) else None,
        request_id=answer.receipt.request_id,
    )
    return _unknown("unlisted", "The provider answered in a way that is not known")(answer)


_TABLE = (
    _Row(lambda a: a.image is not None, _image),
    # At any status; the broken moderation service first, for its text may name what it looks for.
    _Row(lambda a: a.says(words.MODERATION_DOWN) and not a.paid, _try_later("moderation_down")),
    _Row(lambda a: (a.readable or not a.success) and a.says(words.CONTENT), _content_refused),
    _Row(lambda a: a.meaning == "invalid", _invalid),
    _Row(lambda a: a.meaning == "gone", _model_gone),
    _Row(lambda a: a.bare_image is not None, _image),
    # Whatever it says, another call would be paid as well.
    _Row(lambda a: a.paid, _unusable),
    _Row(
        lambda a: a.success and not a.readable,
        _unknown("unreadable", "The provider's answer could not be read"),
    ),
    _Row(lambda a: a.meaning == "wallet", _wallet_empty),
    _Row(lambda a: a.meaning == "slow_down", _try_later("slow_down", counts=False)),
    _Row(lambda a: a.status in {200, 201}, _try_later(outcomes.EMPTY_ANSWER)),
    _Row(lambda a: a.status == 401, _key_bad),  # noqa: PLR2004 -- a status is its own name here
    _Row(lambda a: a.status == 402, _wallet_empty),  # noqa: PLR2004 -- as above
    _Row(lambda a: a.status == 403 and a.says(words.MONEY), _wallet_empty),  # noqa: PLR2004 -- as above
    _Row(lambda a: a.status == 403, _forbidden),  # noqa: PLR2004 -- as above
    _Row(lambda a: a.status == 404, _model_gone),  # noqa: PLR2004 -- as above
    _Row(lambda a: a.status == 429 and a.says(words.EMPTY_WALLET), _wallet_empty),  # noqa: PLR2004 -- as above
    _Row(lambda a: a.own and a.status in _PERHAPS_MONEY and a.out_of_money, _wallet_empty),
    # A limit, not a failure: ends only by the job's own deadlines.
    _Row(lambda a: a.status == 429, _try_later("slow_down", counts=False)),  # noqa: PLR2004 -- as above
    _Row(
        lambda a: a.status in _GATEWAY_TIMEOUTS,
        _unknown("gateway_timeout", "The provider did not finish in time and may still"),
    ),
    _Row(
        lambda a: a.status in _EDGE or (a.status in _SERVER_ERRORS and not a.own),
        _unknown("edge_error", "A proxy in front of the provider answered for it"),
    ),
    # Documented as never charged.
    _Row(lambda a: a.status in {500, 502, 503}, _try_later("provider_error")),
    _Row(lambda a: a.status in {413, 422} or (a.status in _CLIENT_ERRORS and a.own), _invalid),
    _Row(lambda _: True, _unlisted),
)
