"""What OpenAPI says beside what FastAPI reads itself: answers, refusals, headers, examples, webhooks."""

__all__ = [
    "answers",
    "description",
    "events",
    "files",
    "generations",
    "operators",
    "parameters",
    "refusals",
]
