"""Handle SIGTERM, SIGINT and SIGHUP from the start of the process to its end."""

import os
import signal
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # importing it takes longer than everything else before the handlers are installed
    from asyncio import AbstractEventLoop

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class SignalPhase(Enum):
    """The phase that determines the effect of a signal."""

    BOOTING = "booting"  # SIGTERM and SIGINT end the process at once; SIGHUP waits
    ATTACHED = "attached"  # each calls its attached handler on the loop
    ENDING = "ending"  # all are ignored: the process is ending


class ProcessSignals:
    """Handle the signals in every phase: BOOTING --attach--> ATTACHED --detach--> ENDING.

    Without a handler SIGHUP kills a process, and PID 1 never gets a SIGTERM. The handlers are those of `signal`,
    because the loop's handlers end with the loop.
    """

    def __init__(self) -> None:
        self.phase = SignalPhase.BOOTING
        self._waiting: list[int] = []  # SIGHUPs from before `attach`
        self._attached: Mapping[int, Callable[[], None]] = {}
        self._loop: AbstractEventLoop | None = None

    def install(self) -> None:
        """Install the handlers, also for signals that the parent process blocked or ignored."""
        for number in HANDLED:
            signal.signal(number, lambda received, _: self._on_signal(received))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def attach(self, loop: "AbstractEventLoop", handlers: Mapping[int, Callable[[], None]]) -> None:
        """Call these handlers on `loop` from now on, first for waiting signals."""
        self._loop, self._attached = loop, handlers
        self.phase = SignalPhase.ATTACHED
        waiting, self._waiting = self._waiting, []
        for number in waiting:
            self._on_signal(number)

    def detach(self) -> None:
        """Ignore all further signals. The interpreter's end replaces handlers by the default, but leaves SIG_IGN.

        The system ignores them first. `signal.signal` alone leaves a moment in which one is noted for a handler that
        is then gone, and Python prints a traceback for it.
        """
        import ctypes

        self.phase = SignalPhase.ENDING
        ignore = ctypes.pythonapi.PyOS_setsig
        ignore.argtypes, ignore.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        for number in HANDLED:
            ignore(number, int(signal.SIG_IGN))
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int) -> None:
        """Handle a signal between two bytecodes of the main thread."""
        if self.phase is SignalPhase.ATTACHED:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._attached[number])
        elif self.phase is SignalPhase.BOOTING and number == signal.SIGHUP:
            self._waiting.append(number)
        elif self.phase is SignalPhase.BOOTING:
            os._exit(128 + number)  # nothing is open yet


SIGNALS = ProcessSignals()  # a process has one set of handlers
