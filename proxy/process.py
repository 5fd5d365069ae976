"""The process around a sidecar: what signals do to it, when it is ready, and its end, which nothing can put off."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Mapping
from enum import Enum

import structlog
import uvloop

from proxy.app import Sidecar
from proxy.config.settings import Settings
from proxy.observe.logging import configure
from proxy.observe.queued_output import drain_standard_streams
from proxy.server.acceptor import AT_ONCE
from proxy.signals import ProcessSignals
from proxy.transport.descriptors import raise_limit, too_few

ABORTED = 128 + signal.SIGTERM  # the status of a start that had to be cut off
OVERDUE = 1  # the status of an end that had to be cut off
ABORT_WITHIN_S = 3.0
END_WITHIN_S = 20.0  # after the drain: the trail, the store and the tracer have bounds of their own below this

log = structlog.get_logger("backstay")


class ProcessStage(Enum):
    """How far the process is: STARTING -> SERVING -> DRAINING, or STARTING -> DRAINING."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Process:
    """Start a sidecar, and do what signals ask.

    SIGTERM and SIGINT before it is ready give up the start. Afterwards they drain, SIGINT without the delay, and a
    second SIGINT without waiting for what is under way. SIGHUP reloads: once ready, if it came before, and not while
    draining.
    """

    def __init__(self, sidecar: Sidecar, load_again: Callable[[], Settings], few_files: str | None = None) -> None:
        """Take what to run, what SIGHUP reads, and what there is to say of too few open files."""
        self.handlers: Mapping[int, Callable[[], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._hurry,
            signal.SIGHUP: self._reload,
        }
        self._sidecar = sidecar
        self._load_again = load_again
        self._few_files = few_files
        self._stage = ProcessStage.STARTING
        self._reload_wanted = False
        self._task: asyncio.Task[object] | None = None
        self._reloading: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Serve until stopped; return the exit status. Raises StartError before anything is served."""
        if await self._start():
            self._announce()
            await self._sidecar.stopping.wait()
            await self._drain()
        return 0

    async def _start(self) -> bool:
        """Return False if a signal came before it was ready."""
        task = self._task = asyncio.current_task()
        assert task is not None
        try:
            await self._sidecar.start()
        except asyncio.CancelledError:
            if not self._sidecar.stopping.is_set():
                raise
            task.uncancel()
            log.info("start_given_up")
            return False
        return True

    def _announce(self) -> None:
        gc.collect()
        gc.freeze()  # what start-up made lives for ever: never look at it again
        gc.set_threshold(200_000, 20, 100)  # requests leave no cycles; what is young dies by its count
        sidecar, self._stage = self._sidecar, ProcessStage.SERVING
        print(f"backstay ready: proxy {sidecar.url} admin {sidecar.admin_url}", flush=True)  # noqa: T201 - the contract's line
        log.info("ready", proxy=sidecar.url, admin=sidecar.admin_url)
        sidecar.audit.tell_agreement()
        if self._few_files is not None:
            log.warning("few_open_files", detail=self._few_files)
        if self._reload_wanted:
            self._reload()

    async def _drain(self) -> None:
        self._stage = ProcessStage.DRAINING
        log.info("draining")
        listen = self._sidecar.settings.listen
        end_within(listen.drain_delay + listen.drain_timeout + END_WITHIN_S, OVERDUE)
        await self._sidecar.stop()
        log.info("stopped", records=self._sidecar.audit.records, gaps=self._sidecar.audit.gaps)

    def _stop(self) -> None:
        if self._stage is ProcessStage.STARTING and self._task is not None and not self._sidecar.stopping.is_set():
            end_within(ABORT_WITHIN_S, ABORTED)
            self._task.cancel()
        self._sidecar.stopping.set()

    def _hurry(self) -> None:
        """Do not make a person at a terminal wait for a load balancer."""
        self._sidecar.hurry()
        self._stop()

    def _reload(self) -> None:
        if self._stage is ProcessStage.STARTING:
            self._reload_wanted = True
        elif self._stage is ProcessStage.DRAINING:
            log.warning("reload_refused", problems=["the sidecar is draining"])
        else:
            self._sidecar.audit.reopen()  # at once, for whoever renamed the trail
            self._reload_wanted = True
            if self._reloading is None or self._reloading.done():
                self._reloading = asyncio.get_running_loop().create_task(self._reload_while_wanted())

    async def _reload_while_wanted(self) -> None:
        """Reload once more where a signal came meanwhile: a file may have changed after it was read."""
        while self._reload_wanted and self._stage is ProcessStage.SERVING:
            self._reload_wanted = False
            await self._sidecar.reload(self._load_again)


def serve(
    settings: Settings, load_again: Callable[[], Settings], signals: ProcessSignals, lines_dropped: Callable[[], int]
) -> int:
    """Run until SIGTERM or SIGINT; return the exit status. Raises StartError before anything is served.

    `lines_dropped` returns how many lines of the log were lost, for the metric.
    """
    configure(settings.log.level, settings.log.format)
    return uvloop.run(_attached(settings, load_again, signals, lines_dropped))


async def _attached(
    settings: Settings, load_again: Callable[[], Settings], signals: ProcessSignals, lines_dropped: Callable[[], int]
) -> int:
    share = settings.admin.max_connections + AT_ONCE  # so many more are open for a moment when others give way
    few_files = too_few(raise_limit(share), settings.listen.max_connections)
    process = Process(Sidecar(settings, lines_dropped=lines_dropped), load_again, few_files)
    signals.attach(asyncio.get_running_loop(), process.handlers)
    try:
        return await process.run()
    finally:
        signals.detach()


def end_within(seconds: float, status: int) -> None:
    """End the process with `status` after so many seconds, unless it has ended: a thread may hang in the kernel.

    A disk, a name server or a pipe that does not answer holds up Python's own end as long as it likes.
    """

    def end() -> None:
        threading.Event().wait(seconds)
        log.error("exit_forced", status=status, after_s=seconds)
        drain_standard_streams()
        os._exit(status)

    threading.Thread(target=end, name="end-within", daemon=True).start()
