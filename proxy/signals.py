"""SIGTERM, SIGINT and SIGHUP, from the first moment of the process to its last."""

import os
import signal
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop  # importing it takes longer than all else before the handlers stand

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class SignalPhase(Enum):
    """What a signal means now."""

    BOOTING = "booting"  # SIGTERM and SIGINT end the process at once; SIGHUP waits
    ATTACHED = "attached"  # each calls what was attached, on the loop
    ENDING = "ending"  # all are ignored: the process ends already


class ProcessSignals:
    """Handle the signals in every phase: BOOTING --attach--> ATTACHED --detach--> ENDING.

    Python and the kernel would do otherwise: SIGHUP kills a process that has no handler for it, and a process that is
    PID 1 never gets a SIGTERM that it does not handle. Handlers of `signal`, not of the loop, because the loop's end
    with the loop.
    """

    def __init__(self) -> None:
        self.phase = SignalPhase.BOOTING
        self._waiting: list[int] = []  # SIGHUPs that came before anybody could reload
        self._attached: Mapping[int, Callable[[], None]] = {}
        self._loop: AbstractEventLoop | None = None

    def install(self) -> None:
        """Take over the signals, also those that the parent process had blocked or ignored."""
        for number in HANDLED:
            signal.signal(number, lambda received, _: self._on_signal(received))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def attach(self, loop: "AbstractEventLoop", handlers: Mapping[int, Callable[[], None]]) -> None:
        """Have `loop` call these from now on, and first for what has waited."""
        self._loop, self._attached = loop, handlers
        self.phase = SignalPhase.ATTACHED
        waiting, self._waiting = self._waiting, []
        for number in waiting:
            self._on_signal(number)

    def detach(self) -> None:
        """Ignore all further signals. The interpreter's end replaces handlers by the default, but leaves SIG_IGN."""
        self.phase = SignalPhase.ENDING
        for number in HANDLED:
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int) -> None:
        """Run between two bytecodes of the main thread, whatever that is doing."""
        if self.phase is SignalPhase.ATTACHED:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._attached[number])
        elif self.phase is SignalPhase.BOOTING and number == signal.SIGHUP:
            self._waiting.append(number)
        elif self.phase is SignalPhase.BOOTING:
            os._exit(128 + number)  # nothing is open yet: there is nothing to tidy


SIGNALS = ProcessSignals()  # this process's: there is one set of handlers
