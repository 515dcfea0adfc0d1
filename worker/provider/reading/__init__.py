"""Reading an answer of the provider: whatever came back becomes one outcome.

`table` is the one table by which an answer is understood; the other files find images, errors, prices and
what is left of a broken body in it.
Promises: an image that is there is found, in whatever shape; what cannot be understood is never taken for
"not charged". Opens no connection.
"""

from worker.provider.reading.table import read, read_part

__all__ = ["read", "read_part"]
