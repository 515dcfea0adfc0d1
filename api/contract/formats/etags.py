"""Entity tags: whether the caller has what we would send."""


def matches(if_none_match: str | None, etag: str) -> bool:
    """Compare weakly, as If-None-Match does: proxies that compress make strong tags weak.

    Source: RFC 9110, 13.1.2.
    """
    given = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag in given or given == ["*"]
