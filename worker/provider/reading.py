"""How an answer of the provider is read: one table, one function.

The first row that fits decides, so the order matters: an image is an image whatever else the
answer says, and a refusal for content comes dressed as any status. An answer that no row fits is
`Unknown`, and asks for a row.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from worker import outcomes
from worker.outcomes import Image, Outcome, Parked, Refused, TryLater, Unknown
from worker.provider import answers, edges
from worker.provider.answers import Answer

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# The moderation service itself failed, and did not look at the content.
_MODERATION_DOWN = re.compile("ContentSecurityDetectionError", re.IGNORECASE)
_CONTENT = re.compile("SensitiveContent|RiskDetection|content_policy", re.IGNORECASE)
# `err_insufficent_credits` is the provider's spelling; newer wordings speak of funds and balance.
_WALLET = re.compile("err_insuffic|credit|fund|balance", re.IGNORECASE)

# What a request that timed out on the provider's side is answered with.
_GATEWAY_TIMEOUTS = frozenset({408, 504, 524})
# Cloudflare's own, about the origin: it may have finished, and billed.
_EDGE = range(520, 528)
_SERVER_ERRORS = range(500, 600)
_CLIENT_ERRORS = range(400, 500)


def read(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Say what a complete answer means.

    `body` is the whole body, decoded from any transfer and content coding. Never raises; logs one
    line, without the body, for an answer that the table does not know.
    """
    answer = answers.parse(status, headers, body)
    return next(row.then(answer) for row in _TABLE if row.when(answer))


@dataclass(frozen=True, slots=True)
class _Row:
    """An answer, and what it is read as."""

    when: Callable[[Answer], bool]
    then: Callable[[Answer], Outcome]


def _image(answer: Answer) -> Outcome:
    found = answers.item(answer.json) or {}
    return Image(
        url=answers.link(found),
        b64=answers.base64(found),
        size=answers.size(found),
        receipt=answer.receipt,
    )


def _try_later(reason: str, *, counts: bool = True) -> Callable[[Answer], Outcome]:
    return lambda answer: TryLater(
        reason=reason,
        message=answer.message,
        retry_after=answer.retry_after,
        counts=counts,
        receipt=answer.receipt,
    )


def _invalid(answer: Answer) -> Outcome:
    return Refused(
        code="invalid_input",
        message=answer.message,
        details=answer.details,
        receipt=answer.receipt,
    )


def _content_refused(answer: Answer) -> Outcome:
    return Refused(code="content_refused", message=answer.message, receipt=answer.receipt)


def _model_gone(answer: Answer) -> Outcome:
    return Refused(code="model_unavailable", message=answer.message, receipt=answer.receipt)


# The provider's words about its key or account are for the operator, not for whoever sent the job.
def _wallet_empty(answer: Answer) -> Outcome:
    message = "The provider's wallet has no credits for this call."
    return Parked(reason="wallet_empty", message=message, receipt=answer.receipt)


def _key_bad(answer: Answer) -> Outcome:
    message = f"The provider does not accept our key (HTTP status {answer.status})."
    return Parked(reason="provider_key", message=message, certain=True, receipt=answer.receipt)


def _forbidden(answer: Answer) -> Outcome:
    message = f"The provider does not accept our key (HTTP status {answer.status})."
    said = edges.refusal(answer)
    return Parked(reason="provider_key", message=message, said=said, receipt=answer.receipt)


def _unknown(reason: str, message: str) -> Callable[[Answer], Outcome]:
    return lambda answer: Unknown(
        reason=reason, message=f"{message} (HTTP status {answer.status}).", receipt=answer.receipt
    )


def _unlisted(answer: Answer) -> Outcome:
    # Not the body: it may repeat the prompt. Its shape is what a new row needs.
    log.warning(
        "provider answer is not in the table: add a row",
        status=answer.status,
        content_type=answer.headers.get("content-type"),
        length=len(answer.raw),
        fields=sorted(answer.json)[:20] if isinstance(answer.json, dict) else None,
        request_id=answer.receipt.request_id,
    )
    return _unknown("unlisted", "The provider answered in a way that is not known")(answer)


_TABLE = (
    _Row(
        lambda a: a.success and not a.readable,
        _unknown("unreadable", "The provider's answer could not be read"),
    ),
    _Row(lambda a: a.success and answers.item(a.json) is not None, _image),
    # At any status; the broken moderation service first, for its text may name what it looks for.
    _Row(lambda a: a.says(_MODERATION_DOWN), _try_later("moderation_down")),
    _Row(lambda a: a.says(_CONTENT), _content_refused),
    _Row(lambda a: a.status in {200, 201}, _try_later(outcomes.EMPTY_ANSWER)),
    _Row(lambda a: a.status == 401, _key_bad),  # noqa: PLR2004 -- a status is its own name here
    _Row(lambda a: a.status in {402, 403} and a.says(_WALLET), _wallet_empty),
    _Row(lambda a: a.status == 403, _forbidden),  # noqa: PLR2004 -- as above
    _Row(lambda a: a.status == 404, _model_gone),  # noqa: PLR2004 -- as above
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
