"""The eager task: which steps asyncio's own task takes later, and which are equal."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

import pytest

from proxy.runtime.eager_task import EagerTask
from proxy.runtime.immediate_future import ImmediateFuture, immediate_future
from tests.wire.kit import outside, turn


async def started(coroutine: Coroutine[Any, Any, None]) -> EagerTask:
    task = EagerTask(coroutine, asyncio.get_running_loop())
    await outside(task.step)
    return task


def answer() -> ImmediateFuture[str]:
    return immediate_future(asyncio.get_running_loop())


class Diary:
    """A coroutine that notes what becomes of it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    async def keep(self, *waits_for: Awaitable[str]) -> None:
        self.said.append("began")
        try:
            for each in waits_for:
                self.said.append(await each)
        except asyncio.CancelledError:
            self.said.append("cancelled")
            raise
        self.said.append("ended")


async def test_it_begins_at_once_and_ends_at_once_where_nothing_is_waited_for() -> None:
    """No turn of the loop stands between a request and its first step."""
    diary = Diary()
    task = EagerTask(diary.keep(), asyncio.get_running_loop())

    def begin() -> list[str]:
        task.step()
        return list(diary.said)

    assert await outside(begin) == ["began", "ended"]
    assert task.cancel() is False


async def test_it_goes_on_before_tell_returns() -> None:
    """That is what it is for: who brings the answer sees it through."""
    diary, first, second = Diary(), answer(), answer()
    await started(diary.keep(first, second))

    def tell(which: ImmediateFuture[str], text: str) -> list[str]:
        which.resolve_now(text)
        return list(diary.said)

    assert await outside(lambda: tell(first, "one")) == ["began", "one"]
    assert await outside(lambda: tell(second, "two")) == ["began", "one", "two", "ended"]


async def test_a_result_that_is_only_set_lets_it_go_on_a_turn_later() -> None:
    """Who sets it may have more to do first."""
    diary, awaited = Diary(), answer()
    await started(diary.keep(awaited))
    awaited.set_result("later")
    assert diary.said == ["began"]
    await turn()
    assert diary.said == ["began", "later", "ended"]


async def test_it_waits_for_any_future_and_for_nothing() -> None:
    """A plain future, an asyncio task, and `sleep(0)`, which waits for no future at all."""
    diary, future = Diary(), asyncio.get_running_loop().create_future()

    async def nap() -> str:
        await turn()
        return "slept"

    other = asyncio.get_running_loop().create_task(nap())
    await started(diary.keep(nap(), future, other))
    await other
    future.set_result("future")
    await turn()
    await turn()
    assert diary.said == ["began", "slept", "future", "slept", "ended"]


@pytest.mark.parametrize("prompt", [True, False])
async def test_it_is_cancelled_where_it_waits(prompt: bool) -> None:
    """A turn later, as asyncio's own; what it waited for is cancelled too, and once it has ended there is nothing."""
    diary = Diary()
    awaited: asyncio.Future[str] = answer() if prompt else asyncio.get_running_loop().create_future()
    task = await started(diary.keep(awaited))
    assert task.cancel() is True
    assert diary.said == ["began"]
    await turn()
    assert diary.said == ["began", "cancelled"]
    assert awaited.cancelled()
    assert task.cancel() is False


async def test_it_is_cancelled_though_the_answer_was_there_first() -> None:
    """Between an answer and the turn in which it is taken."""
    diary, awaited = Diary(), answer()
    task = await started(diary.keep(awaited))
    awaited.set_result("too late")
    task.cancel()
    await turn()
    assert diary.said == ["began", "cancelled"]


async def test_cancelled_in_mid_step_it_ends_where_it_next_waits() -> None:
    """A client may leave while its own request is being worked on."""
    said: list[str] = []
    awaited = answer()

    async def leave() -> None:
        tasks[0].cancel()
        said.append("still here")
        await awaited

    tasks = [EagerTask(leave(), asyncio.get_running_loop())]
    await outside(tasks[0].step)
    await turn()
    assert said == ["still here"]
    assert awaited.cancelled()


async def test_timeouts_work_within() -> None:
    """`asyncio.timeout` cancels the current task and takes that back: the store and the dialler rely on it."""
    said: list[str] = []
    ended = asyncio.Event()

    async def impatient() -> None:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            said.append("timed out")
        ended.set()

    task = await started(impatient())
    await asyncio.wait_for(ended.wait(), 60)
    assert said == ["timed out"]
    assert task.cancelling() == 0
    assert asyncio.current_task() is not None, "the test's own is current again"


async def test_an_answer_is_a_future_to_everybody_else() -> None:
    """Followers, tests and libraries wait for it in tasks of asyncio's own."""
    awaited = answer()
    waiting = asyncio.get_running_loop().create_task(asyncio.wait_for(awaited, 60))
    await turn()
    awaited.resolve_now("hello")
    assert await waiting == "hello"


async def test_an_error_comes_out_where_the_task_was_moved_on() -> None:
    """Nobody waits for it, so nothing may be swallowed."""
    awaited = answer()

    async def fail() -> None:
        await awaited
        raise KeyError("a bug")

    await started(fail())
    with pytest.raises(KeyError, match="a bug"):
        await outside(lambda: awaited.resolve_now("go"))
