"""The states of a client connection, one enum for each direction, and the allowed transitions."""

from typing import Final

from proxy.runtime.enums import FastEnum


class ReadState(FastEnum):
    """The part of a message that the next byte from a client belongs to."""

    HEAD = "of a request's head, or before it"
    BODY = "of a request's body"
    HELD = "not looked at yet: enough is read ahead, or the protocol may change"
    TUNNEL = "for the backend"
    OVER = "dropped: no further request is read on this connection"


class WriteState(FastEnum):
    """The bytes that may be written to a client."""

    FREE = "no request is under way: interim responses, or the response to a malformed request"
    RUNNING = "an exchange runs, and no byte of its final response is written"
    STARTED = "a response's head is written: its own bytes follow, or the connection is closed"
    TUNNEL = "data from the backend"
    LINGERING = "nothing: the last response is written, and further data of the client is dropped"
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
