"""Whom a secure connection trusts: the system's certificate authorities."""

import ssl
from functools import cache

from models.errors import Misconfigured
from models.settings import inherited


@cache
def authorities() -> ssl.SSLContext:
    """Read them once, or those that SSL_CERT_FILE and SSL_CERT_DIR name: it takes 20 ms of the loop.

    Raises `Misconfigured` for a file that has none: OpenSSL passes it by in silence.
    """
    context = ssl.create_default_context()
    variable = ssl.get_default_verify_paths().openssl_cafile_env
    if named := inherited().get(variable):
        try:
            context.load_verify_locations(named)
        except OSError as unread:  # an SSLError is one
            raise Misconfigured(
                f"{variable}: no certificates can be read from {named!r}: {unread.strerror or unread}"
            ) from None
    return context
