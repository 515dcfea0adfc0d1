"""What the provider takes of a reference image: bytes, pixels and shape."""

# The provider's upstream states these: at most 10 MB and 36 megapixels, each side over 14 pixels, and
# neither side more than 16 times the other.
BYTES_MAX = 10 * 1024 * 1024
PIXELS_MAX = 36_000_000
SIDE_OVER = 14
RATIO_MAX = 16


def judge_size(width: int, height: int) -> str | None:
    """Return why the provider would refuse an image of so many pixels; None when it would not."""
    found = f"the image is {width}x{height}"
    if min(width, height) <= SIDE_OVER:
        return f"{found}; the provider needs each side over {SIDE_OVER} pixels."
    if max(width, height) > RATIO_MAX * min(width, height):
        return (
            f"{found}; the provider takes shapes from 1:{RATIO_MAX} to {RATIO_MAX}:1, so crop it, "
            "or put it on a wider ground."
        )
    if width * height > PIXELS_MAX:
        scale = (PIXELS_MAX / (width * height)) ** 0.5
        return (
            f"{found}, {width * height:,} pixels, and the provider takes {PIXELS_MAX:,} at most; scale "
            f"it down to {int(width * scale)}x{int(height * scale)} or less."
        )
    return None


def judge_kept(length: int, width: int, height: int) -> str | None:
    """Return why the provider would refuse an image that we keep, of so many bytes and pixels."""
    return too_large(length) if length > BYTES_MAX else judge_size(width, height)


def too_large(length: int) -> str:
    """Return the refusal of an image of so many bytes."""
    return (
        f"the image has {length:,} bytes; the provider takes at most {BYTES_MAX:,} (10 MB). "
        "Make it smaller, or send an https:// URL."
    )
