"""Make every test independent of the machine: no clock in hypothesis, firm time limits, default signals.

Each immediate result of a test run is proven to be the last thing that its caller does (`tests/tail_position.py`).

`--compiled` refuses to run on anything but the compiled modules, so that no source stands in for them unseen.
"""

import asyncio
import signal
from collections.abc import Generator
from types import FrameType
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from proxy.runtime.immediate_future import ImmediateFuture
from tests.tail_position import checked

AGAIN_S = 60.0  # after its time limit a test and its fixtures have so long to end, and then are interrupted once more

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A shell without job control, and nohup, start what runs in the background with SIGINT ignored, and a child process
# inherits that. The tests end programs with these signals, so their children get the default back.
for ending in (signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(ending) is signal.SIG_IGN:
        signal.signal(ending, signal.default_int_handler if ending is signal.SIGINT else signal.SIG_DFL)


ImmediateFuture.resolve_now = checked(ImmediateFuture.resolve_now)  # type: ignore[method-assign]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer `--compiled`."""
    parser.addoption("--compiled", action="store_true", help="refuse to run unless the compiled modules are tested")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse where a module that is to be compiled is not, or is another folder's."""
    if session.config.getoption("--compiled"):
        from tests.compiled import not_compiled

        if found := not_compiled():
            raise pytest.UsageError(f"not compiled here: {', '.join(found)}; see python -m tests.compiled --help")


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(settings: Any) -> Generator[None, bool, bool]:
    """Let a test that hangs on uvloop reach its time limit.

    pytest-timeout raises in a signal handler. uvloop logs what a signal handler raises and goes on, so the tasks of
    its loop are cancelled instead.
    """
    was_set = yield
    if settings.method == "signal":
        interrupt: Any = signal.getsignal(signal.SIGALRM)

        def expire(signum: int, frame: FrameType | None) -> None:
            loop = asyncio._get_running_loop()
            if not isinstance(loop, uvloop.Loop):
                interrupt(signum, frame)
            for task in asyncio.all_tasks(loop):
                task.cancel(f"Timeout (>{settings.timeout} s)")

        signal.signal(signal.SIGALRM, expire)
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, AGAIN_S)
    return was_set
