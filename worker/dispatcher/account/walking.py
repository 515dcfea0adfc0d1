"""Going from page to page of what the provider shows, and no further than that leads anywhere."""

from collections.abc import Sequence

LOST = "the pages that it shows lead nowhere"
_EMPTY = 20  # pages in a row: who filters as he goes may well have some


class Walk:
    """A way through pages, which ends where they come again, or are empty on and on.

    A place is a cursor or an offset; `first` is where the first page was asked for.
    """

    def __init__(self, first: object) -> None:
        self._places = {first}
        self._before: Sequence[object] = ()
        self._empty = 0

    def leads_on(self, rows: Sequence[object], place: object) -> bool:
        """Return whether there is anything new to be found at the place that a page names as the next."""
        again = place in self._places or (bool(rows) and list(rows) == list(self._before))
        self._empty = 0 if rows else self._empty + 1
        self._before = rows
        self._places.add(place)
        return not again and self._empty < _EMPTY
