"""Output to a stream without a reader blocks no request, and lost lines are counted and reported."""

import os
import threading
from collections.abc import Iterator

import pytest

from proxy.observe.queued_output import QueuedOutput, as_text

PATIENCE_S = 30.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Give both ends of a pipe that holds one page."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:  # the test has closed it
            continue


def filled(writing: int) -> int:
    """Fill a pipe; return how many bytes it took."""
    os.set_blocking(writing, False)
    size = 0
    try:
        while True:
            size += os.write(writing, b"x" * 1024)
    except BlockingIOError:
        os.set_blocking(writing, True)
    return size


def test_lines_arrive_whole_and_in_order(pipe: tuple[int, int]) -> None:
    """`print` writes a text and a newline: they are one line; what UTF-8 cannot say is escaped."""
    reading, writing = pipe
    raw = QueuedOutput(writing)
    text = as_text(raw)
    for word in ("one", "zwei €", "\udc80"):
        print(word, file=text)
    assert raw.drain(PATIENCE_S)
    assert os.read(reading, 4096).decode() == "one\nzwei €\n\\udc80\n"
    assert raw.dropped == 0


def test_nobody_reads_and_nobody_waits(pipe: tuple[int, int]) -> None:
    """Beyond the limit lines are dropped, counted, and told once there is a reader again."""
    reading, writing = pipe
    full, told, heard = filled(writing), threading.Event(), list[int]()

    def receive(lines: int) -> None:
        heard.append(lines)
        told.set()

    raw = QueuedOutput(writing, limit=1000, on_recovery=receive)
    for _ in range(30):
        assert raw.write(b"a line of 50 bytes" + b"." * 31 + b"\n") == 50
    assert raw.dropped == 10
    assert not raw.drain(0.01)
    taken = 0
    while taken < full + 1000:
        taken += len(os.read(reading, 65536))
    assert told.wait(PATIENCE_S)
    assert raw.drain(PATIENCE_S)
    assert heard == [10]
    raw.write(b"again\n")
    assert raw.drain(PATIENCE_S)
    assert os.read(reading, 100) == b"again\n"
    assert (raw.dropped, heard) == (10, [10])


def test_a_reader_that_left_costs_the_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    """A broken pipe, like a full disk, raises nothing and is not told into the same broken pipe for ever."""
    reading, writing = pipe
    os.close(reading)
    heard: list[int] = []
    raw = QueuedOutput(writing, on_recovery=heard.append)
    raw.write(b"one\ntwo\n")
    raw.write(b"three\n")
    assert raw.drain(PATIENCE_S)
    assert (raw.dropped, heard) == (3, [])


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    """A parent that shares it (Node does) may have: nothing is lost, and nothing spins."""
    reading, writing = pipe
    full = filled(writing)
    os.set_blocking(writing, False)
    raw = QueuedOutput(writing)
    raw.write(b"after\n")
    assert not raw.drain(0.05)
    said = b""
    while len(said) < full + 6:
        said += os.read(reading, 65536)
    assert said.endswith(b"after\n")
    assert raw.drain(PATIENCE_S)
    assert raw.dropped == 0


def test_a_line_larger_than_all_room_is_dropped(pipe: tuple[int, int]) -> None:
    """It counts as one line, and the next one goes out."""
    reading, writing = pipe
    raw = QueuedOutput(writing, limit=100)
    raw.write(b"x" * 101)
    raw.write(b"y\n")
    assert raw.drain(PATIENCE_S)
    assert os.read(reading, 4096) == b"y\n"
    assert raw.dropped == 1
