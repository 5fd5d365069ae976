"""Accept connections one by one, for listeners that check each before the loop takes it over."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

AT_ONCE = 16  # connections in one loop iteration: open connections must get their share
REST_S = 0.1  # seconds to pause after a resource error: the listening socket stays readable, and the loop would spin
_WANTS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_log = logging.getLogger("backstay.wire")


class Acceptor:
    """States: ACCEPTING --no descriptor or memory--> RESTING --`REST_S`--> ACCEPTING; either --close--> CLOSED

    `take` receives each accepted non-blocking socket. `accept` returns the next connection of the listening socket.
    """

    def __init__(
        self,
        listening: socket.socket,
        take: Callable[[socket.socket], None],
        accept: Callable[[socket.socket], socket.socket] = lambda listening: listening.accept()[0],
    ) -> None:
        self._listening = listening
        self._take = take
        self._accept = accept
        self._loop = asyncio.get_running_loop()
        self._resting: asyncio.TimerHandle | None = None
        self._logged = False  # the current shortage was logged
        self._go_on()

    def _go_on(self) -> None:
        self._resting = None
        self._loop.add_reader(self._listening.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        for _ in range(AT_ONCE):
            try:
                visitor = self._accept(self._listening)
            except OSError as error:
                if error.errno in _WANTS:
                    self._rest(error)
                return  # the backlog is empty, or the client has left
            self._logged = False
            visitor.setblocking(False)
            self._take(visitor)

    def _rest(self, error: OSError) -> None:
        self._loop.remove_reader(self._listening.fileno())
        self._resting = self._loop.call_later(REST_S, self._go_on)
        if not self._logged:
            _log.warning("cannot accept connections: %s", error.strerror)
            self._logged = True

    def close(self) -> None:
        """Stop listening."""
        if self._listening.fileno() < 0:
            return
        if self._resting is not None:
            self._resting.cancel()
        else:
            self._loop.remove_reader(self._listening.fileno())
        self._listening.close()
