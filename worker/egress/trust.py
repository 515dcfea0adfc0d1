"""Whom a secure connection trusts: the system's certificate authorities."""

import ssl
from functools import cache


@cache
def authorities() -> ssl.SSLContext:
    """Read them once, or those that SSL_CERT_FILE and SSL_CERT_DIR name: it takes 20 ms of the loop."""
    return ssl.create_default_context()
