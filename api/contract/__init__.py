"""What crosses the wire: `requests` in, `shapes` out, their `formats`, and what `openapi` says of them.

Promises: inwards closed to unknown fields; outwards every answer fits the shape that is documented.
"""

__all__ = ["formats", "openapi", "requests"]
