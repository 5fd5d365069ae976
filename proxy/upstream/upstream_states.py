"""The states of a backend connection and the allowed transitions."""

from typing import Final

from proxy.runtime.enums import FastEnum


class UpstreamState(FastEnum):
    """The state of a backend connection and its one request."""

    IDLE = "no request: any data is unexpected and closes the connection"
    QUEUED = "no byte of the request is written: any data is not its response"
    SENDING = "a large request may not be written completely, and no response has begun"
    WAITING = "the request is written, and no response has begun"
    EARLY = "a response began before the request was written: the connection is not reused"
    READING = "the response body arrives"
    TUNNEL = "the protocol changed: bytes both ways"
    CLOSED = "nothing is read or written any more"


# Module constants: an Enum member look-up costs 0.1 µs in Python 3.11.
IDLE: Final = UpstreamState.IDLE
QUEUED: Final = UpstreamState.QUEUED
SENDING: Final = UpstreamState.SENDING
WAITING: Final = UpstreamState.WAITING
EARLY: Final = UpstreamState.EARLY
READING: Final = UpstreamState.READING
TUNNEL: Final = UpstreamState.TUNNEL
CLOSED: Final = UpstreamState.CLOSED

UPSTREAM_MOVES: Final[dict[UpstreamState, tuple[UpstreamState, ...]]] = {
    IDLE: (QUEUED, CLOSED),
    QUEUED: (SENDING, WAITING, CLOSED),
    SENDING: (WAITING, EARLY, CLOSED),
    WAITING: (READING, TUNNEL, IDLE, CLOSED),
    EARLY: (CLOSED,),
    READING: (IDLE, CLOSED),
    TUNNEL: (CLOSED,),
    CLOSED: (),
}
