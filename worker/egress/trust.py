"""Whom a secure connection trusts: the system's certificate authorities."""

import ssl
from typing import Literal

from models.errors import Misconfigured
from models.settings import inherited


def authorities() -> Literal[True]:
    """Return what aiohttp takes for the authorities that it has read while it was loaded.

    They are the system's, or those that SSL_CERT_FILE and SSL_CERT_DIR name. Raises `Misconfigured` for a
    file that has none: OpenSSL passes it by in silence.
    """
    variable = ssl.get_default_verify_paths().openssl_cafile_env
    if named := inherited().get(variable):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(named)
        except OSError as unread:  # an SSLError is one
            raise Misconfigured(
                f"{variable}: no certificates can be read from {named!r}: {unread.strerror or unread}"
            ) from None
    return True
