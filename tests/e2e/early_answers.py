"""A backend that responds before it has read the upload, and closes: `python -m tests.e2e.early_answers [count]`.

For each size, `count` clients (100) send all of their upload before they read. It prints how many got the answer whole.
"""

import asyncio
import socket
import ssl
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.flood import PATIENCE, connect
from tests.e2e.sidecar import Child, sidecar

SIZES = (300_000, 1_000_000, 20_000_000)
PAGE = b"too much" * 100
REFUSAL = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n" + PAGE
UNDELIMITED = b"HTTP/1.1 413 No\r\nConnection: close\r\n\r\n" + PAGE
BLOCK = bytes(65_536)
AT_ONCE = 8
Converse = Callable[[socket.socket], None]


def head_of(connection: socket.socket) -> None:
    """Read a request's head, and no byte of its body."""
    while not connection.recv(65_536, socket.MSG_PEEK).count(b"\r\n\r\n"):
        pass
    taken = connection.recv(65_536, socket.MSG_PEEK).find(b"\r\n\r\n") + 4
    while taken:
        taken -= len(connection.recv(taken))


def refusing(status: int = 413) -> Converse:
    """Return a backend that answers at the head and closes: with unread bytes, so that the system sends a reset."""

    def converse(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(REFUSAL % (status, len(PAGE)))

    return converse


def over_tls(context: ssl.SSLContext) -> Converse:
    """Return the same over TLS. It does not wait for anything to be acknowledged: its reset would take that back."""

    def converse(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(connection, server_side=True) as line:
            heard = b""
            while b"\r\n\r\n" not in heard:
                heard += line.recv(4_096)
            line.sendall(REFUSAL % (413, len(PAGE)))

    return converse


def undelimited(connection: socket.socket) -> None:
    """Answer without a length: what ends the answer is a FIN, which a reset follows."""
    head_of(connection)
    connection.sendall(UNDELIMITED)
    connection.shutdown(socket.SHUT_WR)


@contextmanager
def backend(converse: Converse) -> Iterator[str]:
    """Run a backend that holds each conversation in a thread of its own, and closes; yield its URL."""

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE)
            converse(connection)

    def serve(server: socket.socket) -> None:
        with suppress(OSError):  # the server is closed
            while True:
                threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        yield "http://{}:{}".format(*server.getsockname())
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def upload(url: str, size: int, *, expect: bool = False) -> bytes:
    """Send a body of `size` bytes, or what of it is taken, and return all that is answered."""
    more = b"Expect: 100-continue\r\n" if expect else b""
    with connect(url) as client:
        client.settimeout(PATIENCE)
        client.sendall(b"POST /up HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (more, size))
        with suppress(ConnectionError):  # the sidecar takes no more: its answer is here
            for start in range(0, size, len(BLOCK)):
                client.sendall(BLOCK[: size - start])
        answer = b""
        while not is_whole(answer) and (data := client.recv(65_536)):
            answer += data
        return answer


def is_whole(answer: bytes) -> bool:
    """Tell whether all of the page is here, and the end of its framing."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.endswith(b"\r\n0\r\n\r\n") if b"chunked" in head else body == PAGE


def outcome(url: str, size: int, *, expect: bool = False) -> str:
    """Return what became of one upload: `413` where the answer came whole."""
    try:
        answer = upload(url, size, expect=expect)
    except OSError as error:
        return type(error).__name__
    return answer.split(b" ")[1].decode() if is_whole(answer) else f"cut after {len(answer)} bytes"


async def outcomes(child: Child, count: int, *, expect: bool = False) -> Counter[str]:
    """Return what became of `count` uploads of each size."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sizes = [size for size in SIZES for _ in range(count)]
        asked = [asyncio.wrap_future(pool.submit(outcome, child.url, size, expect=expect)) for size in sizes]
        return Counter(await asyncio.gather(*asked))


async def _main(count: int) -> int:
    with tempfile.TemporaryDirectory() as folder, backend(refusing()) as url:
        async with sidecar(Path(folder), url) as child:
            found = await outcomes(child, count)
    whole, asked = found["413"], count * len(SIZES)
    print(f"{whole} of {asked}", "" if whole == asked else dict(found))
    return int(whole != asked)


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)))
