"""Closing the door without shutting it in anybody's face: who has knocked already is let in (W17)."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from proxy.wire.dial import as_protocol


async def close_door(server: asyncio.Server, make: Callable[[], object], tls: ssl.SSLContext | None = None) -> None:
    """Stop listening. Connections that are made, but were not accepted yet, would be reset: take them in."""
    doors = [socket.fromfd(door.fileno(), door.family, door.type) for door in server.sockets]
    server.close()
    knocked = [visitor for door in doors for visitor in _last_visitors(door)]
    for visitor in knocked:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(as_protocol(make), visitor, ssl=tls)
        except OSError:  # it has left again, or its handshake failed
            visitor.close()


def _last_visitors(door: socket.socket) -> list[socket.socket]:
    """Accept everybody who waits, and close. No await may stand between: who comes in it is lost."""
    visitors: list[socket.socket] = []
    with door:
        door.setblocking(False)
        while True:
            try:
                visitors.append(door.accept()[0])
            except OSError:  # nobody else waits
                return visitors
