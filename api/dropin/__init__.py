"""Synchronous calls in the dialects that clients speak already: change the base URL, keep the code.

Reads a body of the provider's, of OpenAI's, or of the provider's older dialect into jobs like any other,
waits for them, and answers in the shape that those clients read. Promises: a client that goes away
cancels nothing, and its retry joins what it asked for before instead of paying again.
"""

__all__ = ["calling", "route", "uploads"]
