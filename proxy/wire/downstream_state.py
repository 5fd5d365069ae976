"""The states of a connection to a client, one for each direction, and every move between them."""

from proxy.words import Sign


class Reading(Sign):
    """What the next byte from a client is."""

    HEAD = "of a request's head, or before it"
    BODY = "of a request's body"
    HELD = "not looked at yet: enough is read ahead, or the protocol may change"
    TUNNEL = "for the backend"
    OVER = "dropped: no further request is read on this connection"


class Answering(Sign):
    """What may be written to a client."""

    FREE = "no request is being answered: interim answers, or what is refused on the wire"
    RUNNING = "an exchange runs, and not a byte of its final answer is written"
    STARTED = "an answer's head is written: what follows is its own bytes, or a cut"
    TUNNEL = "what the backend says"
    LINGERING = "nothing: the last answer is written, and what the client still sends is dropped"
    CLOSED = "nothing: the connection ends"


READING_MOVES: dict[Reading, frozenset[Reading]] = {
    Reading.HEAD: frozenset({Reading.BODY, Reading.HELD, Reading.TUNNEL, Reading.OVER}),
    Reading.BODY: frozenset({Reading.HEAD, Reading.OVER}),
    Reading.HELD: frozenset({Reading.HEAD, Reading.TUNNEL, Reading.OVER}),
    Reading.TUNNEL: frozenset({Reading.OVER}),
    Reading.OVER: frozenset(),
}
ANSWERING_MOVES: dict[Answering, frozenset[Answering]] = {
    Answering.FREE: frozenset({Answering.RUNNING, Answering.LINGERING, Answering.CLOSED}),
    Answering.RUNNING: frozenset(
        {Answering.FREE, Answering.STARTED, Answering.TUNNEL, Answering.LINGERING, Answering.CLOSED}
    ),
    Answering.STARTED: frozenset({Answering.FREE, Answering.LINGERING, Answering.CLOSED}),
    Answering.TUNNEL: frozenset({Answering.CLOSED}),
    Answering.LINGERING: frozenset({Answering.CLOSED}),
    Answering.CLOSED: frozenset(),
}
