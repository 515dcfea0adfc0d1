"""What crosses the wire, inwards and outwards, and what OpenAPI says of it.

Promises: inwards closed to unknown fields; outwards every answer fits the shape that is documented.
"""

__all__ = [
    "actions",
    "answers",
    "batches",
    "budgets",
    "cursors",
    "documentation",
    "dropin",
    "erasures",
    "etags",
    "events",
    "field_errors",
    "filters",
    "operating",
    "queries",
    "schemas",
    "spreadsheet",
    "strict_json",
    "subscriptions",
]
