"""What a peer said before it reset the connection, and the loop did not read.

A loop stops reading where a write fails. A backend that answers early and closes resets the connection under the rest
of the upload (RFC 9112 section 9.6): its answer is still in the kernel then, as long as the socket is open.
"""

import asyncio
import os
import ssl
from collections.abc import Iterator

from proxy.transport.tls import incoming_of

_SIZE = 65_536
_TIMES = 64  # no more is read than a kernel holds


class Leftover:
    """A plain connection that is lost, for what the loop left unread of it.

    How it ended cannot be read any more: after a reset was reported once, a read returns no bytes. `ended`: nothing
    follows.
    """

    def __init__(self, transport: asyncio.Transport, *, ended: bool) -> None:
        self._transport = transport
        self.ended = ended

    def read(self) -> Iterator[bytes]:
        """Yield what is left to read; nothing over TLS, where it is not to be deciphered any more."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None and self._transport.get_extra_info("ssl_object") is None:
            yield from _unread(raw.fileno())


class Remainder:
    """A connection over TLS, for what the loop will have left unread of it.

    It has a descriptor of its own, because the loop closes its own before a protocol learns that TLS is over.
    """

    def __init__(self, fd: int, tls: ssl.SSLObject, incoming: ssl.MemoryBIO) -> None:
        self._fd = fd
        self._tls = tls
        self._incoming = incoming
        self.ended = False  # the other side said that nothing follows

    def read(self) -> Iterator[bytes]:
        """Yield what is left to read, deciphered. Only where the connection is lost: the loop uses the same state."""
        for data in _unread(self._fd):
            self._incoming.write(data)
        try:
            while data := self._tls.read(_SIZE):
                yield data
        except ssl.SSLError:  # a record is not whole, and never will be
            return
        self.ended = True

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self._fd)


def remainder(transport: asyncio.Transport) -> Remainder | None:
    """Return what reads a connection over TLS to its end; None for a plain one, and where no descriptor is left."""
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
