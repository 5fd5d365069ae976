"""A connection after a 101: bytes in both directions, each of which is half-closed by itself."""

import asyncio
from collections.abc import Callable

from proxy.transport.broadcast import Broadcast


class Tunnel(Broadcast):
    """Both directions after a 101. Data from the backend is read as a body; `send` sends to the backend.

    Each direction ends by itself. The tunnel is closed when both have ended.
    """

    __slots__ = ("_backend", "_hung_up", "pace_client")

    def __init__(self, pace: Callable[[bool], None], deserted: Callable[[], None], backend: asyncio.Transport) -> None:
        super().__init__(pace, deserted)
        self._backend = backend
        self._hung_up = False
        self.pace_client: Callable[[bool], None] | None = None

    def send(self, data: bytes) -> None:
        """Send data from the client to the backend."""
        if not self._hung_up and not self._backend.is_closing():
            self._backend.write(data)

    def hang_up(self) -> None:
        """Half-close: the client sends no more."""
        if self._hung_up or self._backend.is_closing():
            return
        self._hung_up = True
        if self.ended or not self._backend.can_write_eof():  # TLS has no half-close
            self._backend.close()
        else:
            self._backend.write_eof()

    def backend_hung_up(self) -> bool:
        """Record that the backend sends no more; tell whether the client may still send."""
        self.finish()
        return not self._hung_up

    def backend_full(self, full: bool) -> None:
        """Pause the client while the backend's buffer is full, and resume it."""
        if self.pace_client is not None:
            self.pace_client(full)
