"""TLS handshakes of clients: they count as connections before they are done, and end within a time of their own."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from proxy.transport.protocols import as_protocol


@dataclass(frozen=True, slots=True)
class HandshakeRules:
    """How a handshake is made, and within how many seconds.

    `has_room` gets the number of handshakes under way and tells whether another connection may be taken in.
    `failed` gets why one ended: `limit`, `timeout` or `refused`.
    """

    tls: ssl.SSLContext
    timeout_s: float
    has_room: Callable[[int], bool]
    failed: Callable[[str], None] = lambda why: None


class Handshakes:
    """The handshakes under way: accepted -> shaking hands -> a connection of `make`'s protocol, or closed.

    Beyond the limit a connection is closed before its handshake: an answer would cost the work that the limit bounds.
    """

    def __init__(self, make: Callable[[], object], rules: HandshakeRules) -> None:
        self._make = as_protocol(make)
        self._rules = rules
        self._under_way: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, visitor: socket.socket) -> None:
        """Take over a socket that does not block."""
        if not self._rules.has_room(len(self._under_way)):
            self._rules.failed("limit")
            visitor.close()
            return
        task = asyncio.get_running_loop().create_task(self._shake(visitor))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _shake(self, visitor: socket.socket) -> None:
        rules = self._rules
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make, visitor, ssl=rules.tls, ssl_handshake_timeout=rules.timeout_s
            )
        except OSError as error:  # ssl.SSLError is one
            late = isinstance(error, ConnectionAbortedError | TimeoutError)
            rules.failed("timeout" if late else "refused")

    def renew(self, make: Callable[[], object], rules: HandshakeRules) -> None:
        """Begin further handshakes so; those under way go on as they began."""
        self._make, self._rules = as_protocol(make), rules

    def close(self) -> None:
        """Give up what is under way."""
        for task in tuple(self._under_way):
            task.cancel()
