"""The timer of a connection's deadlines, on a loop whose clock the test controls."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from proxy.upstream.deadline_timer import GRACE_S, LATE_S, DeadlineTimer


class Timer:
    """What the loop gives for a call to come."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def when(self) -> float:
        """Return its time."""
        return self.at

    def cancel(self) -> None:
        """Take it back."""
        self.cancelled = True


class Loop:
    """A clock, and the timers that were set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        """Return the time that the test set."""
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Keep a timer."""
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Keep a timer."""
        return self.call_at(self.now + delay, callback)

    def wake(self, now: float) -> None:
        """Call what is due at this time, as a loop does before it looks at its sockets."""
        self.now = now
        due = [timer for timer in self.timers if timer.at <= now and not timer.cancelled]
        self.timers = [timer for timer in self.timers if timer not in due]
        for timer in due:
            timer.call()


@pytest.fixture
def rung() -> list[float]:
    """Collect when the alarm rang."""
    return []


def test_a_deadline_that_is_over_rings(rung: list[float]) -> None:
    """At its time, and once."""
    loop = Loop()
    alarm = DeadlineTimer(cast(asyncio.AbstractEventLoop, loop), lambda: rung.append(loop.now))
    alarm.set(2.0)
    for now in (1.9, 2.0, 3.0):
        loop.wake(now)
    assert rung == [2.0]


def test_a_process_that_was_suspended_first_reads_what_arrived(rung: list[float]) -> None:
    """The answer may be there: the alarm gives it a moment, and rings only if nobody puts it off."""
    loop = Loop()
    alarm = DeadlineTimer(cast(asyncio.AbstractEventLoop, loop), lambda: rung.append(loop.now))
    for answered in (True, False):
        began = loop.now
        alarm.set(2.0)
        woken = began + 2.0 + LATE_S + 10.0
        loop.wake(woken)
        assert rung == []
        if answered:
            alarm.put_off()
        loop.wake(woken + GRACE_S)
        assert rung == ([] if answered else [woken + GRACE_S])


@pytest.mark.parametrize(("second_s", "at"), [(5.0, 6.0), (0.5, 1.5)], ids=["later", "earlier"])
def test_a_new_deadline_replaces_the_one_before(rung: list[float], second_s: float, at: float) -> None:
    """The timer of an earlier request is kept for the next one, and must not end it."""
    loop = Loop()
    alarm = DeadlineTimer(cast(asyncio.AbstractEventLoop, loop), lambda: rung.append(loop.now))
    alarm.set(2.0)
    loop.wake(1.0)
    alarm.set(second_s)
    for now in (1.4, 1.5, 2.0, 3.0, 5.9, 6.0, 9.0):
        loop.wake(now)
    assert rung == [at]


def test_a_deadline_that_was_put_off_does_not_ring(rung: list[float]) -> None:
    loop = Loop()
    alarm = DeadlineTimer(cast(asyncio.AbstractEventLoop, loop), lambda: rung.append(loop.now))
    alarm.set(2.0)
    alarm.put_off()
    loop.wake(10.0)
    assert rung == []
    alarm.set(1.0)
    loop.wake(11.0)
    assert rung == [11.0]
