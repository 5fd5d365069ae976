"""A connection that changed its protocol (101): bytes both ways, each end half-closed by itself."""

import asyncio
from collections.abc import Callable

from proxy.transport.broadcast import Broadcast


class Tunnel(Broadcast):
    """Both directions beside a 101. What the backend says is read as any body; `say` speaks to the backend.

    Each direction ends by itself. The tunnel is closed when both have.
    """

    __slots__ = ("_backend", "_hung_up", "pace_client")

    def __init__(self, pace: Callable[[bool], None], deserted: Callable[[], None], backend: asyncio.Transport) -> None:
        super().__init__(pace, deserted)
        self._backend = backend
        self._hung_up = False
        self.pace_client: Callable[[bool], None] | None = None

    def say(self, data: bytes) -> None:
        """Pass on what the client said."""
        if not self._hung_up and not self._backend.is_closing():
            self._backend.write(data)

    def hang_up(self) -> None:
        """Pass on that the client will say no more."""
        if self._hung_up or self._backend.is_closing():
            return
        self._hung_up = True
        if self.ended or not self._backend.can_write_eof():  # TLS knows no half
            self._backend.close()
        else:
            self._backend.write_eof()

    def backend_hung_up(self) -> bool:
        """Take note that the backend will say no more; tell whether the client may still speak to it."""
        self.finish()
        return not self._hung_up

    def backend_full(self, full: bool) -> None:
        """Let the client wait until the backend has taken what was said, or go on."""
        if self.pace_client is not None:
            self.pace_client(full)
