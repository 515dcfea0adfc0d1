"""How refusals repeat a caller's values, and point to them: short, on one line, always as valid UTF-8."""

_LENGTH = 48  # characters of a value that a message repeats


def shown(value: object) -> str:
    """Write any JSON value for a message."""
    match value:
        case None | bool():
            text = "null" if value is None else str(value).lower()
        case str():
            text = f'"{printable(value)}"'
        case int():
            # Python refuses to write integers of over 4,300 digits.
            text = str(value) if abs(value) < 1 << 72 else "an integer of over 21 digits"
        case float():
            text = repr(value)
        case dict():
            text = f"an object of {len(value)} fields"
        case list():
            text = f"a list of {len(value)} items"
        case _:
            text = f"a {type(value).__name__}"
    return text


def printable(text: str, most: int = _LENGTH) -> str:
    """Shorten a text and escape what cannot be printed: NUL, controls, halves of surrogates."""
    head = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in head
    )


def pointer_to(*steps: object) -> str:
    """Write the JSON pointer (RFC 6901) that leads through these names and places."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)
