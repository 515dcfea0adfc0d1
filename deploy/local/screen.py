"""What a person sees: plain lines, and on a terminal a progress bar below them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed


class Screen:
    """Writes lines to a console; never a control sequence where that is not a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()

    def say(self, text: str, style: str | None = None) -> None:
        """Write one line, unbroken: a command in it can be copied."""
        self._console.print(text, style=style, soft_wrap=True, markup=False, highlight=False)

    def step(self, elapsed: timedelta, text: str) -> None:
        """Write one line of a timeline."""
        self.say(f"{max(0.0, elapsed.total_seconds()):9.3f} s  {text}")

    @contextmanager
    def progress(self, title: str, steps: int) -> Iterator[Callable[[], None]]:
        """Show a bar while something is under way; call what it yields at each step."""
        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            Elapsed(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        with bar:
            task = bar.add_task(title, total=steps)
            yield lambda: bar.advance(task)
