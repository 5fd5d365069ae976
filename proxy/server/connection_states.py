"""The states of a client connection, one enum for each direction, and the allowed transitions."""

from typing import Final

from proxy.runtime.enums import FastEnum


class ReadState(FastEnum):
    """What the next byte from a client belongs to."""

    HEAD = "of a request's head, or before it"
    BODY = "of a request's body"
    HELD = "not looked at yet: enough is read ahead, or the protocol may change"
    TUNNEL = "for the backend"
    OVER = "dropped: no further request is read on this connection"


class WriteState(FastEnum):
    """What may be written to a client."""

    FREE = "no request is being answered: interim answers, or what is refused on the wire"
    RUNNING = "an exchange runs, and not a byte of its final answer is written"
    STARTED = "an answer's head is written: what follows is its own bytes, or a cut"
    TUNNEL = "what the backend says"
    LINGERING = "nothing: the last answer is written, and what the client still sends is dropped"
    CLOSED = "nothing: the connection ends"


# Module constants: an Enum member look-up costs 0.1 µs in Python 3.11.
HEAD: Final = ReadState.HEAD
BODY: Final = ReadState.BODY
HELD: Final = ReadState.HELD
PIPED: Final = ReadState.TUNNEL
OVER: Final = ReadState.OVER

READING_MOVES: Final[dict[ReadState, tuple[ReadState, ...]]] = {
    HEAD: (BODY, HELD, PIPED, OVER),
    BODY: (HEAD, OVER),
    HELD: (HEAD, PIPED, OVER),
    PIPED: (OVER,),
    OVER: (),
}

FREE: Final = WriteState.FREE
RUNNING: Final = WriteState.RUNNING
STARTED: Final = WriteState.STARTED
TUNNEL: Final = WriteState.TUNNEL
LINGERING: Final = WriteState.LINGERING
CLOSED: Final = WriteState.CLOSED

ANSWERING_MOVES: Final[dict[WriteState, tuple[WriteState, ...]]] = {
    FREE: (RUNNING, LINGERING, CLOSED),
    RUNNING: (FREE, STARTED, TUNNEL, CLOSED),
    STARTED: (FREE, CLOSED),
    TUNNEL: (CLOSED,),
    LINGERING: (CLOSED,),
    CLOSED: (),
}
