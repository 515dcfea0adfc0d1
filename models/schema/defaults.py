"""What a column holds when a row does not say."""

from sqlalchemy import func, text

NOW = func.now()
EMPTY_LIST, EMPTY_MAP = text("'{}'"), text("'{}'::jsonb")
