"""The tables of transitions: complete, without dead ends except the last state, and exclusive."""

from typing import Any

import pytest

from proxy.build import COMPILED
from proxy.errors import IllegalMove
from proxy.server.connection_states import (
    ANSWERING_MOVES,
    READING_MOVES,
    ReadState,
    WriteState,
)
from proxy.server.request_reader import RequestReader
from proxy.server.response_writer import ResponseWriter
from proxy.upstream.upstream_connection import UpstreamConnection
from proxy.upstream.upstream_states import UPSTREAM_MOVES, UpstreamState

TABLES: dict[str, tuple[dict[Any, tuple[Any, ...]], Any, Any]] = {
    "upstream": (UPSTREAM_MOVES, UpstreamState.IDLE, UpstreamState.CLOSED),
    "reading": (READING_MOVES, ReadState.HEAD, ReadState.OVER),
    "answering": (ANSWERING_MOVES, WriteState.FREE, WriteState.CLOSED),
}

MOVERS: dict[str, tuple[Any, str, str]] = {
    "upstream": (UpstreamConnection, "state", "_become"),
    "reading": (RequestReader, "state", "read_next"),
    "answering": (ResponseWriter, "state", "become"),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_state_is_reached_and_can_end(name: str) -> None:
    """From the first state all others are reached, each may go to the last at once, and from there none goes on."""
    moves, first, last = TABLES[name]
    reached, new = {first}, {first}
    while new:
        new = {after for before in new for after in moves[before]} - reached
        reached |= new
    assert reached == set(moves) == set(type(first).__members__.values())
    assert moves[last] == ()
    assert all(last in after for before, after in moves.items() if before is not last)


@pytest.mark.skipif(COMPILED, reason="a compiled class is not made without what it is made of")
@pytest.mark.parametrize("name", TABLES)
def test_no_other_move_can_be_made(name: str) -> None:
    """What is in the table is done, what is not raises and says which move it was."""
    moves, first, _ = TABLES[name]
    connection_class, state, move = MOVERS[name]
    for before in type(first):
        for after in type(first):
            connection = connection_class.__new__(connection_class)
            setattr(connection, state, before)
            if after in moves[before]:
                getattr(connection, move)(after)
                assert getattr(connection, state) is after
            else:
                with pytest.raises(IllegalMove, match=f"{before.name} -> {after.name}"):
                    getattr(connection, move)(after)
                assert getattr(connection, state) is before
