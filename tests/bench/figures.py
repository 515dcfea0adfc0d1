"""Figures: what was measured, against what, with which goal; as a table, as JSON, and as a picture."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

Better = Literal["more", "less"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. `value` is a ratio where `against` names a peer, else it has the unit that it says.

    With `better` more, the value should reach the goal; with less, it should stay within it.
    `raw` is what the ratio was made of; `note` says where the limit is, should the goal be missed.
    """

    what: str
    against: str
    value: float
    goal: float
    better: Better
    unit: str = ""
    raw: str = ""
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether it is at its goal."""
        return self.value >= self.goal if self.better == "more" else self.value <= self.goal

    @property
    def target(self) -> str:
        """The goal, in words."""
        return f"{'≥' if self.better == 'more' else '≤'} {self.goal:g}{self.unit}"


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the table."""
    table = Table(title="Darkroom beside its peers, measured in this run")
    for name in ("what", "against", "measured", "goal", "", "from"):
        table.add_column(name, justify="right" if name in {"measured", "goal"} else "left")
    for each in figures:
        verdict = "[green]reached[/]" if each.reached else "[red]missed[/]"
        table.add_row(
            each.what, each.against, f"{each.value:.3g}{each.unit}", each.target, verdict, each.raw
        )
    console.print(table)
    for each in figures:
        if each.note and not each.reached:
            console.print(f"{each.what}: {each.note}")


def write(figures: Sequence[Figure], folder: Path) -> None:
    """Write the figures as `bench.json` and `bench.svg`."""
    rows = [asdict(each) | {"reached": each.reached} for each in figures]
    (folder / "bench.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    (folder / "bench.svg").write_text(_draw(figures))


_ROW, _LEFT, _WIDTH, _MIDDLE = 26, 430, 900, 220


def _draw(figures: Sequence[Figure]) -> str:
    """Draw a bar per figure: how far within its goal it is; the dashed line is the goal."""
    height = 64 + _ROW * len(figures)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"',
        ' font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="16" y="26" font-size="15" font-weight="600">',
        "Measured against the goal, in one run: beyond the line is better</text>",
    ]
    for n, each in enumerate(figures):
        top = 44 + n * _ROW
        share = each.value / each.goal if each.better == "more" else each.goal / each.value
        bar = f'width="{min(share, 2.0) * _MIDDLE:.0f}" height="{_ROW - 10}"'
        colour = "#2e7d32" if each.reached else "#c62828"
        said = _escape(f"{each.value:.3g}{each.unit} (goal {each.target})")
        parts += [
            f'<text x="{_LEFT - 12}" y="{top + 14}" text-anchor="end">{_escape(each.what)}</text>',
            f'<rect x="{_LEFT}" y="{top + 2}" {bar} fill="{colour}" rx="2"/>',
            f'<text x="{_LEFT + 6}" y="{top + 14}" fill="#fff" font-size="12">{said}</text>',
        ]
    line, dashes = _LEFT + _MIDDLE, 'stroke="#333" stroke-dasharray="4 3"'
    parts += [f'<path d="M{line} 38V{height - 12}" {dashes}/>', "</svg>"]
    return "\n".join(parts) + "\n"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
