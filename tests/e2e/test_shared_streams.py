"""One large response for many clients: one call, constant memory, and no client waits for a very slow reader."""

import asyncio
import selectors
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple
from zlib import crc32

import psutil
import pytest

from tests.e2e.flood import MIB, PATIENCE, Memory, backend, checksum, connect, receive, send
from tests.e2e.sidecar import sidecar

MEBIBYTES = 100
FOLLOWERS = 50
ALLOWED = 64 * MIB
ASKED = b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SAME = 262_144  # bytes that each reader's kernel takes: of a busy machine's readers none gets far ahead of the others
# How far a reader may fall behind before it is cut. The kernel may hold 3 MiB more for one honest reader than for
# another, and one read takes 4 MiB at most: none falls so far behind, however busy the machine is. The real limit, and
# how long the others wait, are tested in virtual time, in tests/unit/transport/test_broadcast.py.
PATIENT = """
from proxy.cli.main import main
from proxy.transport import broadcast
broadcast.WINDOW = 16 << 20
main()
"""
SIP, PAUSE = 65_536, 0.1  # bytes, seconds: a hundredth of what the others read


class Crowd:
    """Callers who ask the same and read as fast as they can, to the end of their connections.

    One thread reads for all of them, the leader first among them: on a busy machine none gets far ahead of the others.
    `MSG_TRUNC` has the kernel count what arrived and throw it away: 5 GiB are then no work for Python. What the leader
    got is kept.
    """

    def __init__(self, url: str, size: int, leader: socket.socket) -> None:
        self.sizes = [0] * (1 + size)
        self.led = bytearray()
        self._lines = [leader, *(connect(url, receive_buffer=SAME) for _ in range(size))]
        for line in self._lines[1:]:
            line.sendall(ASKED)

    def read(self, look: Callable[[], None]) -> float:
        """Read everything; return the seconds that it took."""
        began, into = perf_counter(), bytearray(4 * MIB)
        with selectors.DefaultSelector() as ready:
            for number, line in enumerate(self._lines):
                ready.register(line, selectors.EVENT_READ, number)
            while ready.get_map():
                for key, _ in ready.select(PATIENCE):
                    assert isinstance(key.fileobj, socket.socket)
                    size = key.fileobj.recv_into(into, len(into), socket.MSG_TRUNC if key.data else 0)
                    self.sizes[key.data] += size
                    if not key.data:
                        self.led += into[:size]
                    if not size:
                        ready.unregister(key.fileobj)
                        key.fileobj.close()
                look()
        return perf_counter() - began


def sip(url: str, others_are_done: threading.Event) -> int:
    """Ask, and read hardly anything while the others read; return the bytes up to where the connection was cut."""
    size = 0
    with connect(url, receive_buffer=SIP) as line:
        line.sendall(ASKED)
        try:
            while piece := line.recv(SIP):
                size += len(piece)
                others_are_done.wait(PAUSE)
        except ConnectionResetError:
            pass  # it is how a transfer is cut that would look whole otherwise
    return size


class Shared(NamedTuple):
    """What came of one answer for all: the seconds until all but the slow one had it, the most memory that it took."""

    took_s: float
    growth: int
    calls: float
    outcomes: list[str]
    sipped: int


async def share(folder: Path, *, slow: bool) -> Shared:
    """Let a leader and its followers read one answer, with or without a slow one among them."""
    everybody_asked, others_are_done = threading.Event(), threading.Event()

    def answer(peer: socket.socket) -> None:
        receive(peer)
        assert everybody_asked.wait(PATIENCE)
        send(peer, "HTTP/1.1 200 OK", "length", MEBIBYTES, lambda: None, lambda: None)

    with backend(answer) as url:
        async with sidecar(folder, url, command=(sys.executable, "-c", PATIENT)) as child:
            memory = Memory(psutil.Process(child.process.pid))
            leader = connect(child.url, receive_buffer=SAME)
            leader.sendall(ASKED)
            await child.until(lambda m: m.total("backstay_coalesced_total", role="led") == 1)
            crowd = Crowd(child.url, FOLLOWERS - slow, leader)
            slow_one = asyncio.to_thread(sip, child.url, others_are_done) if slow else None
            sipping = None if slow_one is None else asyncio.create_task(slow_one)  # noqa: TID251 - as above
            await child.until(lambda m: m.total("backstay_coalesced_total", role="joined") == FOLLOWERS)
            everybody_asked.set()
            took_s = await asyncio.to_thread(crowd.read, memory.look)
            others_are_done.set()
            body = crowd.led.partition(b"\r\n\r\n")[2]
            assert (len(body), crc32(body)) == (MEBIBYTES * MIB, checksum(MEBIBYTES))
            assert min(crowd.sizes) > MEBIBYTES * MIB
            sipped = 0 if sipping is None else await sipping
            calls = (await child.settled()).total("backstay_upstream_attempts_total")
        return Shared(took_s, memory.growth, calls, [record["outcome"] for record in child.records()], sipped)


@pytest.mark.timeout(600)
async def test_fifty_read_one_answer_and_the_slow_one_delays_nobody(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """100 MiB for fifty followers are one call and flat memory; one that hardly reads is cut."""
    without = await share(tmp_path_factory.mktemp("without"), slow=False)
    among = await share(tmp_path_factory.mktemp("with"), slow=True)
    assert (without.calls, among.calls) == (1, 1)
    assert max(without.growth, among.growth) < ALLOWED
    assert sorted(without.outcomes) == ["answered"] * (1 + FOLLOWERS)
    assert sorted(among.outcomes) == ["answered"] * FOLLOWERS + ["truncated"]
    assert 0 < among.sipped < MEBIBYTES * MIB  # the others had everything long before it could have had half
    print(f"without a slow reader {without.took_s:.2f} s, with one {among.took_s:.2f} s")
