"""The process of a sidecar: signals, readiness, and an exit within a bounded time."""

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

ABORTED = 128 + signal.SIGTERM  # exit status of an aborted start
OVERDUE = 1  # exit status of an exit that took too long
ABORT_WITHIN_S = 3.0
END_WITHIN_S = 20.0  # seconds after the drain; the trail, the store and the tracer have shorter timeouts

log = structlog.get_logger("backstay")


class ProcessStage(Enum):
    """The process's states: STARTING -> SERVING -> DRAINING, or STARTING -> DRAINING."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Process:
    """Run a sidecar and handle signals.

    SIGTERM and SIGINT abort a start. Afterwards they drain, SIGINT without the delay, and a second SIGINT without
    waiting for running requests. SIGHUP reloads: after the start if it came before, and not while draining.
    """

    def __init__(self, sidecar: Sidecar, load_again: Callable[[], Settings], few_files: str | None = None) -> None:
        """Take the sidecar, the callback that reads the settings for SIGHUP, and a warning about open files."""
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
        """Serve until stopped; return the exit status. Raise StartError before anything is served."""
        if await self._start():
            self._announce()
            await self._sidecar.stopping.wait()
            await self._drain()
        return 0

    async def _start(self) -> bool:
        """Start the sidecar; return False if a signal aborted the start."""
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
        gc.freeze()  # objects from the start live as long as the process: exclude them from collection
        gc.set_threshold(200_000, 20, 100)  # requests leave no cycles; reference counting frees their objects
        sidecar, self._stage = self._sidecar, ProcessStage.SERVING
        print(f"backstay ready: proxy {sidecar.url} admin {sidecar.admin_url}", flush=True)  # noqa: T201 - the contract's line
        log.info("ready", proxy=sidecar.url, admin=sidecar.admin_url)
        sidecar.audit.log_agreement()
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
        """Drain without the delay, which is for load balancers."""
        self._sidecar.hurry()
        self._stop()

    def _reload(self) -> None:
        if self._stage is ProcessStage.STARTING:
            self._reload_wanted = True
        elif self._stage is ProcessStage.DRAINING:
            self._sidecar.metrics.reloaded("refused")
            log.warning("reload_refused", problems=["the sidecar is draining"])
        else:
            self._sidecar.audit.reopen()  # at once, after a rotation by rename
            self._reload_wanted = True
            if self._reloading is None or self._reloading.done():
                self._reloading = asyncio.get_running_loop().create_task(self._reload_while_wanted())

    async def _reload_while_wanted(self) -> None:
        """Reload again if a signal came meanwhile: a file may have changed after it was read."""
        while self._reload_wanted and self._stage is ProcessStage.SERVING:
            self._reload_wanted = False
            await self._sidecar.reload(self._load_again)


def serve(
    settings: Settings, load_again: Callable[[], Settings], signals: ProcessSignals, lines_dropped: Callable[[], int]
) -> int:
    """Run until SIGTERM or SIGINT; return the exit status. Raise StartError before anything is served.

    `lines_dropped` returns the number of lost log lines, for the metric.
    """
    configure(settings.log.level, settings.log.format)
    return uvloop.run(_attached(settings, load_again, signals, lines_dropped))


async def _attached(
    settings: Settings, load_again: Callable[[], Settings], signals: ProcessSignals, lines_dropped: Callable[[], int]
) -> int:
    share = settings.admin.max_connections + AT_ONCE  # as many more are open briefly while others are being closed
    few_files = too_few(raise_limit(share), settings.listen.max_connections)
    process = Process(Sidecar(settings, lines_dropped=lines_dropped), load_again, few_files)
    signals.attach(asyncio.get_running_loop(), process.handlers)
    try:
        return await process.run()
    finally:
        signals.detach()


def end_within(seconds: float, status: int) -> None:
    """End the process with `status` after `seconds`, unless it has ended.

    A thread that hangs in the kernel (disk, name server, pipe) can block Python's own exit forever.
    """

    def end() -> None:
        threading.Event().wait(seconds)
        log.error("exit_forced", status=status, after_s=seconds)
        drain_standard_streams()
        os._exit(status)

    threading.Thread(target=end, name="end-within", daemon=True).start()
