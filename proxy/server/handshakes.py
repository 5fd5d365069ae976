"""TLS handshakes of clients, which count as connections and have their own timeout."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from proxy.transport.protocols import as_protocol


@dataclass(frozen=True, slots=True)
class HandshakeRules:
    """The TLS context and the timeout of a handshake in seconds.

    `has_room` gets the number of pending handshakes and returns whether another connection fits.
    `failed` gets the reason of a failure: `limit`, `timeout` or `refused`.
    """

    tls: ssl.SSLContext
    timeout_s: float
    has_room: Callable[[int], bool]
    failed: Callable[[str], None] = lambda why: None


class Handshakes:
    """Pending handshakes: accepted -> handshake -> a connection of `make`'s protocol, or closed.

    Beyond the limit a connection is closed before its handshake: a response would need the work that the limit bounds.
    """

    def __init__(self, make: Callable[[], object], rules: HandshakeRules) -> None:
        self._make = as_protocol(make)
        self._rules = rules
        self._under_way: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, visitor: socket.socket) -> None:
        """Take over a non-blocking socket."""
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
        """Use these rules for further handshakes; pending ones keep theirs."""
        self._make, self._rules = as_protocol(make), rules

    def close(self) -> None:
        """Cancel pending handshakes."""
        for task in tuple(self._under_way):
            task.cancel()
