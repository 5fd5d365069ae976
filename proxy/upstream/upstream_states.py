"""The states of a backend connection and the allowed transitions."""

from typing import Final

from proxy.runtime.enums import FastEnum


class UpstreamState(FastEnum):
    """The state of a backend connection and its one request."""

    IDLE = "no request: whatever comes is no answer, and ends the connection"
    ASKED = "a request is at hand, and not a byte of it is written: whatever comes is no answer to it"
    SENDING = "the request is large, it may not be written whole, and no answer has begun"
    WAITING = "the request is written, and no answer has begun"
    EARLY = "an answer began before the request was written: the connection is not used again"
    READING = "the answer's body arrives"
    TUNNEL = "the protocol changed: bytes both ways"
    CLOSED = "nothing is read or written any more"


# Module constants: an Enum member look-up costs 0.1 µs in Python 3.11.
IDLE: Final = UpstreamState.IDLE
ASKED: Final = UpstreamState.ASKED
SENDING: Final = UpstreamState.SENDING
WAITING: Final = UpstreamState.WAITING
EARLY: Final = UpstreamState.EARLY
READING: Final = UpstreamState.READING
TUNNEL: Final = UpstreamState.TUNNEL
CLOSED: Final = UpstreamState.CLOSED

UPSTREAM_MOVES: Final[dict[UpstreamState, tuple[UpstreamState, ...]]] = {
    IDLE: (ASKED, CLOSED),
    ASKED: (SENDING, WAITING, CLOSED),
    SENDING: (WAITING, EARLY, CLOSED),
    WAITING: (READING, TUNNEL, IDLE, CLOSED),
    EARLY: (CLOSED,),
    READING: (IDLE, CLOSED),
    TUNNEL: (CLOSED,),
    CLOSED: (),
}
