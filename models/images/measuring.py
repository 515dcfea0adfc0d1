"""What a decoder has found in a reference, judged as the provider would judge it."""

from models.errors import Unavailable
from models.images.pictures import Broken, Size
from models.images.reference_sizes import judge_size
from models.images.references import BadReference
from models.platform.wording import printable

_NOT_LOOKED_AT = "A reference could not be looked at just now; send the request again."


def measured(mime: str, found: Size | Broken) -> Size:
    """Return the size of a picture that a decoder has found, or has not.

    Raises `BadReference` for what the provider would refuse, `Unavailable` where the decoder was at fault.
    """
    match found:
        case Broken(passing=True):
            raise Unavailable(_NOT_LOOKED_AT)
        case Broken(reason):
            raise BadReference(_unreadable(mime, reason))
        case Size(width, height) if problem := judge_size(width, height):
            raise BadReference(problem)
        case Size():
            return found


def _unreadable(mime: str, reason: str) -> str:
    """Return the refusal of an image that cannot be decoded; `reason` is the decoder's."""
    return (
        f"the bytes start like {mime}, but the image cannot be decoded ({printable(reason)}); "
        "save it again and send the whole file."
    )
