"""The phases of signal handling, without a signal: which wait, which are handled, which are ignored."""

import asyncio
import os
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from proxy.signals import HANDLED, ProcessSignals, SignalPhase


@pytest.fixture
def signals() -> Iterator[ProcessSignals]:
    """Install the handlers, and put back those of the test run."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    signals = ProcessSignals()
    signals.install()
    yield signals
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_a_reload_waits_for_who_can_do_it_and_the_end_ignores_all(signals: ProcessSignals) -> None:
    """BOOTING keeps SIGHUP, ATTACHED calls on the loop, ENDING ignores."""
    called: list[int] = []
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.phase is SignalPhase.BOOTING
    signals.attach(asyncio.get_running_loop(), {number: partial(called.append, number) for number in HANDLED})
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.01)  # noqa: TID251 - the loop's next turn
    assert called == [signal.SIGHUP, signal.SIGTERM]
    signals.detach()
    for number in HANDLED:
        os.kill(os.getpid(), number)
    assert called == [signal.SIGHUP, signal.SIGTERM]


def test_what_the_parent_blocked_is_heard(signals: ProcessSignals) -> None:
    """A supervisor's mask is inherited: a SIGTERM that is blocked would never come."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    signals.install()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(HANDLED)
