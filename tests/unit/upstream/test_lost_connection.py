"""A response that is read after a reset: the connection is closed first, and then the waiter runs."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from proxy.http.fields import Fields
from proxy.http.message import Failure, Outcome, Peer, Request, Response
from proxy.http.problems import Reason
from proxy.runtime.eager_task import EagerTask
from proxy.transport.write_batch import WriteBatch
from proxy.upstream.upstream_connection import UpstreamConnection
from tests.settings import pool_limits
from tests.wire.kit import outside, turn

ANSWER = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"
OLD_ANSWER = b"HTTP/1.0 413 No\r\n\r\nno"  # the end of the connection ends it


class Transport(asyncio.Transport):
    """Stands in for a transport whose socket the peer has answered on."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def write(self, data: object) -> None:
        """Lose it: the peer reads no more."""

    def get_write_buffer_size(self) -> int:
        return 0


class Pool:
    """Writes down in which order things come."""

    tick = 0.0
    rules = pool_limits()

    def __init__(self) -> None:
        self.outgoing = WriteBatch()
        self.seen: list[str] = []

    def release(self, connection: UpstreamConnection) -> None:
        self.seen.append("released")

    def lost(self, connection: UpstreamConnection) -> None:
        self.seen.append("lost")


@pytest.fixture
def peer() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def no_interim(response: Response) -> None:
    raise AssertionError(response)


def play(pool: Pool, sock: socket.socket, exc: Exception, outcomes: list[Outcome]) -> None:
    """Ask, write, and lose the connection, as the loop's callbacks do: outside any task."""
    connection = UpstreamConnection(pool)
    connection.connection_made(Transport(sock))
    request = Request("GET", b"/", Fields(()), Peer("10.0.0.1", 1))
    future = connection.send(request, b"GET / HTTP/1.1\r\n\r\n", 60.0, 60.0, no_interim)
    connection.flush()

    async def wait() -> None:
        outcomes.append(await future)
        pool.seen.append("went on")

    EagerTask(wait(), asyncio.get_running_loop()).step()
    connection.connection_lost(exc)
    pool.seen.append("returned")


@pytest.mark.parametrize("said", [ANSWER, OLD_ANSWER], ids=["whole", "to the end"])
async def test_the_waiter_of_a_lost_connection_runs_last(
    said: bytes, peer: tuple[socket.socket, socket.socket]
) -> None:
    """By then the pool has a free place again, which a retry may need."""
    ours, theirs = peer
    theirs.sendall(said)
    theirs.close()
    pool, outcomes = Pool(), list[Outcome]()
    await outside(lambda: play(pool, ours, BrokenPipeError(), outcomes))
    await turn()
    assert pool.seen == ["lost", "returned", "went on"]
    (outcome,) = outcomes
    assert isinstance(outcome, Response)
    assert (outcome.status, outcome.body) == (413, b"no")


async def test_a_connection_without_an_answer_fails_its_request(peer: tuple[socket.socket, socket.socket]) -> None:
    """In the same order."""
    pool, outcomes = Pool(), list[Outcome]()
    await outside(lambda: play(pool, peer[0], ConnectionResetError(), outcomes))
    await turn()
    assert pool.seen == ["lost", "returned", "went on"]
    assert isinstance(outcomes[0], Failure)
    assert outcomes[0].reason is Reason.CONNECTION_TERMINATED
