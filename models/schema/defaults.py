"""Defaults that several columns share."""

from sqlalchemy import func, text

NOW = func.now()
EMPTY_LIST, EMPTY_MAP = text("'{}'"), text("'{}'::jsonb")
