"""What the words of an error mean, whatever status they come with."""

import re
from typing import Literal

Meaning = Literal["wallet", "slow_down", "invalid", "gone"]

# The moderation service itself failed, and did not look at the content.
MODERATION_DOWN = re.compile("ContentSecurityDetectionError", re.IGNORECASE)
CONTENT = re.compile(
    "SensitiveContent|RiskDetection|content_?policy|content_?filter|moderation_blocked",
    re.IGNORECASE,
)
# Nothing but the wallet can be meant. `err_insufficent_credits` is the provider's spelling.
EMPTY_WALLET = re.compile(
    r"err_insuffic|insufficient[ _-]?(?:quota|credit|fund|balance)|billing|current quota"
    r"|out[ _-]?of[ _-]?(?:credit|fund|balance)|payment[ _-]?required|overdue|arrears|top[ _-]?up"
    r"|credits?\W.{0,20}(?:exhaust|deplet|used up)|not enough (?:credit|fund|balance)",
    re.IGNORECASE,
)
# Of a 403, which is about the key or about money: newer wordings speak of funds and balance.
MONEY = re.compile(
    rf"{EMPTY_WALLET.pattern}|(?<![a-z])(?:credits?|funds?|balance)(?![a-z])", re.IGNORECASE
)
# The same, where a message is about anything, and may repeat a prompt.
OUT_OF_MONEY = re.compile(
    r"err_insuffic|insufficient[ _-](?:quota|credits?|funds?|balance)|out of (?:credits|funds)"
    r"|billing hard limit|exceeded your current quota",
    re.IGNORECASE,
)
_SLOW_DOWN = re.compile(
    r"rate.?limit|too.?many.?requests|throttl|limit.?exceeded|quota.?exceeded|slow.?down|burst",
    re.IGNORECASE,
)
_TRY_LATER = re.compile(
    r"internal|server.?error|service.?error|unavailable|overload|time.?d?.?out|try again|temporar|busy"
    r"|upstream",
    re.IGNORECASE,
)
_INVALID = re.compile(
    r"invalid(?!.{0,3}(?:api|auth|key|token|credential|endpoint))|bad.?request|missing|validation"
    r"|unprocessable|unsupported|not.?supported|out.?of.?range|too.?(?:large|small|long)|malformed",
    re.IGNORECASE,
)
_INVALID_TEXT = re.compile(
    rf"{_INVALID.pattern}|\bmust (?:be|have|not)\b|\bexpected\b|\brequired\b|\bat (?:least|most)\b"
    r"|\bexceeds?\b|\bnot valid\b",
    re.IGNORECASE,
)
_GONE = re.compile(
    r"model\W{0,3}(?:is.?)?(?:not.?found|not.?exist|gone|deprecated|retired)"
    r"|(?:no.?such|unknown|invalid).?model|model\b.{0,80}\b(?:does not exist|not found)",
    re.IGNORECASE,
)
_WALLET_STATUS, _GONE_STATUS, _SLOW_DOWN_STATUS, _SERVER_ERROR = 402, 404, 429, 500
_INVALID_STATUSES = frozenset({400, 413, 415, 422})


def meaning(codes: str, message: str, status: int | None = None) -> Meaning | None:
    """Return what an error inside of a success means; None when it is to be tried later.

    `codes` are what programs read (code, type, name), `message` is for people, `status` the HTTP status
    that the body tells beside its own. The wallet comes first: OpenAI-like errors of it have the type
    `invalid_request_error`.
    """
    said = f"{codes} {message}"
    if status == _WALLET_STATUS or EMPTY_WALLET.search(said):
        return "wallet"
    if status == _SLOW_DOWN_STATUS or _SLOW_DOWN.search(said):
        return "slow_down"
    if _TRY_LATER.search(codes) or (status or 0) >= _SERVER_ERROR:
        return None
    if status == _GONE_STATUS or _GONE.search(said):
        return "gone"
    if status in _INVALID_STATUSES or _INVALID.search(codes):
        return "invalid"
    wrong = _INVALID_TEXT.search(message) and not _TRY_LATER.search(message)
    return "invalid" if wrong else None
