"""The drawing of the tables is the schema's."""

from pathlib import Path

from models.schema.diagram import draw

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"


def test_the_drawing_is_of_the_present_schema() -> None:
    assert PAGE.read_text() == draw(), "python -m models.schema.diagram > docs/tables.md"
