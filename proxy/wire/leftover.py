"""What a peer said before it reset the connection, and the loop did not read.

A loop stops reading where a write fails. A backend that answers early and closes resets the connection under the rest
of the upload (RFC 9112 section 9.6): its answer is still in the kernel then, as long as the socket is open.
"""

import asyncio
import os
from collections.abc import Iterator

_SIZE = 65_536
_TIMES = 64  # no more is read than a kernel holds


def leftover(transport: asyncio.Transport) -> Iterator[bytes]:
    """Yield what is left to read of a connection that is lost. Nothing of TLS: it is ciphertext.

    How the connection ended cannot be read any more: after a reset was reported once, a read returns no bytes.
    """
    raw = transport.get_extra_info("socket")
    if raw is None or transport.get_extra_info("ssl_object") is not None:
        return
    for _ in range(_TIMES):
        try:
            data = os.read(raw.fileno(), _SIZE)
        except OSError:  # nothing more is there
            return
        if not data:
            return
        yield data
