"""An event loop whose clock jumps to the next timer when no callback is ready, so that nothing waits."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

BEGINNING = 1000.0  # not zero, so that "the clock began at 0" can hide no mistake
WALL = 1_765_751_234.0


class _Jump(selectors.SelectSelector):
    """Wait for nothing: tell how long the loop would have waited."""

    def __init__(self, pass_time: Callable[[float | None], None]) -> None:
        super().__init__()
        self._pass_time = pass_time

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            self._pass_time(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Run as the plain loop does, in virtual seconds."""

    def __init__(self) -> None:
        self._virtual_now = BEGINNING
        super().__init__(_Jump(self._pass_time))

    def time(self) -> float:
        return self._virtual_now

    def _pass_time(self, seconds: float | None) -> None:
        if seconds is None:
            raise RuntimeError("everybody waits and no timer is set: this conversation would hang for ever")
        self._virtual_now += max(0.0, seconds)


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():  # else it was cancelled in this very instant
        sleeper.set_result(None)


class VirtualClock:
    """The loop's own time, as the policies and the page see it."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return WALL + self.now() - BEGINNING

    async def sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _wake, over)
        try:
            await over
        finally:
            timer.cancel()


def simulated(play: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Turn a conversation into a plain test that runs in virtual time."""

    @functools.wraps(play)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(play(*args, **kwargs))

    return test


def now_ms() -> float:
    """Return the virtual milliseconds since the beginning, to the microsecond."""
    return round((asyncio.get_running_loop().time() - BEGINNING) * 1000, 3)
