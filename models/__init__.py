"""The domain: tables, and the rules about them. No HTTP, no FastAPI, no Celery."""
