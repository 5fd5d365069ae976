"""Read what a peer sent before it reset the connection and the loop did not read.

A loop stops reading when a write fails. A backend that responds early and closes resets the connection during the
upload (RFC 9112 section 9.6): its response stays in the kernel as long as the socket is open.
"""

import asyncio
import os
import ssl
from collections.abc import Iterator

from proxy.transport.tls import incoming_of

_SIZE = 65_536
_TIMES = 64  # reads at most; a kernel buffer holds no more


class Leftover:
    """Unread data of a lost plain connection.

    After the reset was reported once, a read returns no bytes, so the reason cannot be read again. `ended`: no data
    follows.
    """

    def __init__(self, transport: asyncio.Transport, *, ended: bool) -> None:
        self._transport = transport
        self.ended = ended

    def read(self) -> Iterator[bytes]:
        """Yield the unread data; nothing over TLS, where it can no longer be decrypted."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None and self._transport.get_extra_info("ssl_object") is None:
            yield from _unread(raw.fileno())


class Remainder:
    """Unread data of a lost TLS connection.

    It duplicates the descriptor, because the loop closes its own before it reports the end of TLS to the protocol.
    """

    def __init__(self, fd: int, tls: ssl.SSLObject, incoming: ssl.MemoryBIO) -> None:
        self._fd = fd
        self._tls = tls
        self._incoming = incoming
        self.ended = False  # the peer sent close_notify

    def read(self) -> Iterator[bytes]:
        """Yield the decrypted unread data. The connection must be lost: the loop uses the same TLS state."""
        for data in _unread(self._fd):
            self._incoming.write(data)
        try:
            while data := self._tls.read(_SIZE):
                yield data
        except ssl.SSLError:  # the last record is incomplete
            return
        self.ended = True

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


def remainder(transport: asyncio.Transport) -> Remainder | None:
    """Return a reader for the rest of a TLS connection; None for a plain connection or if no descriptor is left."""
    raw, tls = transport.get_extra_info("socket"), transport.get_extra_info("ssl_object")
    incoming = None if tls is None else incoming_of(tls)
    if raw is None or incoming is None:
        return None
    try:
        return Remainder(os.dup(raw.fileno()), tls, incoming)
    except OSError:
        return None


def _unread(fd: int) -> Iterator[bytes]:
    for _ in range(_TIMES):
        try:
            data = os.read(fd, _SIZE)
        except OSError:  # nothing more is there
            return
        if not data:
            return
        yield data
