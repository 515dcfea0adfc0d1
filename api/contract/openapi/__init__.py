"""What OpenAPI says beside what FastAPI reads itself: answers, refusals, headers, examples, webhooks."""

__all__ = ["documentation", "events", "generations", "operators"]
