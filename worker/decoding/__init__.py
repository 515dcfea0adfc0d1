"""How bytes of the real world are read: odd heads, compression nobody asked for, base 64, loose URLs.

Pure functions of bytes and text; no connection is opened here.
"""

__all__ = ["heads", "inflating", "inline", "links"]
