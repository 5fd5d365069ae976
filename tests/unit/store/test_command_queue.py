"""The queue of commands during an outage of Redis: which commands are kept, and which callers get an error."""

import asyncio
from typing import Any

import pytest

from proxy.store.command_queue import MOST_QUEUED, MOST_QUEUED_BYTES, CommandQueue, _Command
from proxy.store.redis_connection import RedisConnection, StoreDown


@pytest.fixture
def line() -> CommandQueue:
    """Return a line to a Redis that is not there."""
    return CommandQueue(RedisConnection("redis://127.0.0.1:1", "test", 5.0, lambda _: None))


async def test_who_waits_for_a_command_that_gives_way_is_told(line: CommandQueue) -> None:
    """Beyond what is remembered the oldest gives way: an errand silently, a question with an answer."""
    waiting = asyncio.ensure_future(line._enqueue((b"GET", b"a")))
    for number in range(MOST_QUEUED):
        line.fire_and_forget(b"SET", b"%d" % number, b"")
    with pytest.raises(StoreDown, match="full"):
        await waiting
    assert len(line._queue) == MOST_QUEUED
    await line.close()


async def test_questions_are_bounded_like_errands(line: CommandQueue) -> None:
    """A slow Redis is asked more than it answers: the oldest questions are told that it is down."""
    sent = [line._enqueue((b"GET", bytes(1000))) for _ in range(MOST_QUEUED + 10)]
    assert len(line._queue) == MOST_QUEUED
    assert [answer.done() for answer in sent[:11]] == [True] * 10 + [False]
    for answer in sent[:10]:
        assert isinstance(answer.exception(), StoreDown)
    line._queue.take_batch()
    await line.close()


async def test_what_is_remembered_is_bounded_in_bytes(line: CommandQueue) -> None:
    """Settled answers may be large: ten thousand of them would be gigabytes."""
    for number in range(300):
        line.fire_and_forget("SET", f"claim-{number}", bytes(200_000), "PX", 1000)
    assert line._queue.size <= MOST_QUEUED_BYTES
    assert line._queue.take().arguments[1] == f"claim-{300 - MOST_QUEUED_BYTES // 200_000}"
    assert len(line._queue) < 300


async def test_what_goes_out_together_is_bounded(line: CommandQueue) -> None:
    """One large batch would keep Redis from all others; at least one command goes."""
    for size in (10, 700_000, 700_000, 2_000_000, 10):
        line.fire_and_forget("SET", "a", bytes(size))
    sizes = []
    while line._queue:
        sizes.append([command.size - 4 for command in line._queue.take_batch()])
    assert sizes == [[10, 700_000], [700_000], [2_000_000], [10]]
    assert line._queue.size == 0


async def test_errands_that_failed_are_first_again(line: CommandQueue) -> None:
    """In their order; questions are not asked again, for nobody waits any longer."""
    for number in range(3):
        line.fire_and_forget("SET", f"{number}")
        line._queue.add(_Command(("GET", f"{number}"), asyncio.get_running_loop().create_future()))
    batch = line._queue.take_batch()
    assert len(batch) == 6
    line.fire_and_forget("SET", "3")
    line._queue.put_back(batch)
    assert len(line._queue) == 4
    assert [line._queue.take().arguments for _ in range(4)] == [("SET", f"{number}") for number in range(4)]
    assert line._queue.size == 0


async def test_a_close_waits_for_what_is_queued() -> None:
    """A stopping sidecar settles its claims: without that, their outcomes would be unknown."""
    connection = RedisConnection("redis://127.0.0.1:1", "test", 5.0, lambda _: None)
    connection.reached()
    go_on, carried_out = asyncio.Event(), list[object]()

    class Slow(CommandQueue):
        async def _send(self, batch: list[Any]) -> list[Any]:
            await go_on.wait()
            carried_out.extend(command.arguments for command in batch)
            return []

    queue = Slow(connection)
    queue.fire_and_forget("SET", "claim", "settled")
    closing = asyncio.ensure_future(queue.close())
    await asyncio.sleep(0)  # noqa: TID251 - one turn of the loop: the close has begun
    assert not closing.done()
    go_on.set()
    await closing
    assert carried_out == [("SET", "claim", "settled")]
