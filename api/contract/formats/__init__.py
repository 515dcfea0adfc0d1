"""How it is written and read: JSON, CSV, cursors of pages, entity tags, errors of fields."""

__all__ = ["answers", "cursors", "etags", "field_errors", "spreadsheet", "strict_json"]
