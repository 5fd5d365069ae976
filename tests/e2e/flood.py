"""Bodies far larger than the memory limit, on blocking sockets: 1 GiB passes in seconds, or slowly on purpose."""

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit
from zlib import crc32

import psutil

MIB = 1 << 20
BLOCK = bytes(range(256)) * (MIB // 256)
CHUNK = b"%x\r\n%b\r\n" % (MIB, BLOCK)
FRAMING = {"length": "Content-Length: {size}", "chunked": "Transfer-Encoding: chunked"}
PATIENCE = 200.0  # seconds
STUCK_AFTER = 0.2  # seconds in which not one byte of a body was taken


class Received(NamedTuple):
    """What arrived of a body: its framing, its bytes counted and summed up."""

    chunked: bool
    size: int
    checksum: int


@dataclass
class Memory:
    """The most that a process had resident while it was looked at, in bytes above what it had at first."""

    process: psutil.Process
    first: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        self.first = self.most = self.process.memory_info().rss

    def look(self) -> None:
        """Look once more."""
        self.most = max(self.most, self.process.memory_info().rss)

    @property
    def growth(self) -> int:
        """Bytes above the first look."""
        return self.most - self.first


def checksum(mebibytes: int) -> int:
    """Return the sum that a body of that many mebibytes has."""
    total = 0
    for _ in range(mebibytes):
        total = crc32(BLOCK, total)
    return total


def connect(url: str, *, receive_buffer: int = 0) -> socket.socket:
    """Connect to `url`, with a small receive buffer for a reader that is to be slow."""
    parts = urlsplit(url)
    client = socket.socket()
    client.settimeout(PATIENCE)
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect((parts.hostname, parts.port))
    return client


def send(
    peer: socket.socket, head: str, framing: str, mebibytes: int, look: Callable[[], None], stuck: Callable[[], None]
) -> None:
    """Send a head and a body of so many mebibytes; `look` around now and then, and when nobody takes it: `stuck`."""
    announced = FRAMING[framing].format(size=mebibytes * MIB)
    peer.sendall(f"{head}\r\n{announced}\r\n\r\n".encode())
    piece = CHUNK if framing == "chunked" else BLOCK
    for number in range(mebibytes):
        _push(peer, memoryview(piece), stuck)
        if number % 16 == 0:
            look()
    if framing == "chunked":
        peer.sendall(b"0\r\n\r\n")


def _push(peer: socket.socket, data: memoryview, stuck: Callable[[], None]) -> None:
    peer.settimeout(STUCK_AFTER)
    for _ in range(int(PATIENCE / STUCK_AFTER)):
        try:
            while data:
                data = data[peer.send(data) :]
        except TimeoutError:
            stuck()
        else:
            peer.settimeout(PATIENCE)
            return
    raise TimeoutError("nobody takes the body")


def receive(peer: socket.socket) -> Received:
    """Read one message and sum up its body."""
    stream = io.BufferedReader(socket.SocketIO(peer, "rb"), MIB)
    lines = [line for line in iter(stream.readline, b"\r\n") if line]
    fields = dict(line.decode("latin-1").lower().strip().partition(": ")[::2] for line in lines[1:])
    chunked = "chunked" in fields.get("transfer-encoding", "")
    sizes = _chunk_sizes(stream.readline) if chunked else iter([int(fields.get("content-length", 0))])
    size = total = 0
    for left in sizes:
        size += left
        while left:
            piece = stream.read1(min(left, MIB))
            assert piece, "the body broke off"
            total = crc32(piece, total)
            left -= len(piece)
    return Received(chunked, size, total)


def _chunk_sizes(read_line: Callable[[], bytes]) -> Iterator[int]:
    while size := int(read_line(), 16):
        yield size
        assert read_line() == b"\r\n"


@contextmanager
def backend(converse: Callable[[socket.socket], None]) -> Iterator[str]:
    """Run a backend that holds one conversation in a thread of its own; yield its URL, then see how it ended."""
    failed: list[Exception] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)

        def serve() -> None:
            try:
                peer, _ = server.accept()
                with peer:
                    peer.settimeout(PATIENCE)
                    converse(peer)
            except Exception as error:  # it is the test's to raise
                failed.append(error)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield "http://{}:{}".format(*server.getsockname())
        thread.join(PATIENCE)
    assert not failed, failed
    assert not thread.is_alive()
