"""Bytes gathered in pieces take memory by their size, not by the number of pieces."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from proxy.http1.gathered import Gathered


@given(st.lists(st.binary(max_size=3), max_size=300))
def test_what_comes_in_pieces_is_whole(pieces: list[bytes]) -> None:
    """In its order, and counted."""
    gathered = Gathered()
    for piece in pieces:
        gathered.add(piece)
    assert gathered.size == len(b"".join(pieces))
    assert gathered.take() == b"".join(pieces)
    assert gathered.take() == b""


def test_small_pieces_take_no_more_than_large_ones() -> None:
    """65,536 bytes that come two by two: before, 1.4 MB of objects."""
    tracemalloc.start()
    gathered = Gathered()
    for number in range(32_768):
        gathered.add(number.to_bytes(2, "big"))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert gathered.size == 65_536
    assert held < 150_000
