"""The guided tour: plays every failure mode over real sockets, prints the results, and checks the promises."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from proxy.clock import SystemClock
from proxy.demo.backend import Backend, Latency
from proxy.demo.crash import crash_in_an_outage
from proxy.demo.modes import concurrent_creation, network_glitch, rate_limiting, tracking_loss
from proxy.demo.outage import backend_down, recorded_fast_fails
from proxy.demo.show import show_comparison, show_promises, show_urls, show_watch
from proxy.demo.sidecar_process import DemoSidecar
from proxy.demo.stage import DemoStage, FailureMode, Promise

Player = Callable[[DemoStage], Awaitable[FailureMode]]

MODES: tuple[tuple[str, Player], ...] = (
    ("concurrent creation", concurrent_creation),
    ("network glitch", network_glitch),
    ("backend down", backend_down),
    ("rate limiting", rate_limiting),
    ("session tracking loss", tracking_loss),
    ("crash in an outage", crash_in_an_outage),
)

WORK = Latency(create=0.245)  # the seed document's median; long enough for 50 tabs to send their requests
AT_MOST = 30.0  # seconds for the whole tour
RECORDED_WITHIN = 5.0  # seconds; the audit writes about every 50 ms


async def tour(console: Console, serve: bool = False, port: int = 0) -> int:
    """Play every failure mode, print the results, and return 0 if every promise was kept, else 1.

    With `serve`, backend and sidecar then run until SIGINT or SIGTERM. Raise SidecarError if the sidecar is not ready.
    """
    clock = SystemClock()
    task = asyncio.current_task()
    assert task is not None
    # Without this, SIGTERM would leave the sidecar running: it is in its own session.
    _on_signals(task.cancel, signal.SIGTERM, signal.SIGHUP)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="backstay-demo-")))
        backend = Backend(WORK)
        stack.push_async_callback(backend.stop)
        await backend.start()
        sidecar = await DemoSidecar.start(folder, backend.url, port)
        stack.push_async_callback(sidecar.stop)
        show_watch(console, sidecar.admin, sidecar.token)
        promises = await _perform(console, DemoStage(backend, sidecar.url, clock), sidecar, MODES)
        if serve:
            await _serve(console, backend, sidecar)
        status = await sidecar.stop()
    promises.append(Promise("the sidecar stops cleanly on SIGTERM", status == 0, f"exit status {status}"))
    show_promises(console, promises[-1:])
    return verdict(console, promises)


def verdict(console: Console, promises: Sequence[Promise]) -> int:
    """Print the broken promises and return the exit status: 0 only if there are promises and all were kept."""
    broken = [promise for promise in promises if not promise.held]
    if promises and not broken:
        console.print(f"\nAll {len(promises)} promises kept.", style="bold green")
        return 0
    console.print(f"\n{len(broken)} of {len(promises)} promises broken:", style="bold red")
    for promise in broken:
        console.print(f"  {promise.name}: {promise.measured}", style="red", markup=False)
    return 1


async def _perform(
    console: Console, stage: DemoStage, sidecar: DemoSidecar, modes: Sequence[tuple[str, Player]]
) -> list[Promise]:
    """Play all modes, print the comparison and the promises, and return the promises."""
    began = stage.clock.now()
    played = await play(console, stage, modes)
    took = stage.clock.now() - began
    epilogue = [
        *await _recorded(stage, sidecar),
        Promise(f"the tour takes under {AT_MOST:.0f} s", took < AT_MOST, f"{took:.1f} s"),
    ]
    show_comparison(console, played)
    for mode in played:
        show_promises(console, mode.promises, mode.title)
    show_promises(console, epilogue, "Throughout")
    return [*(promise for mode in played for promise in mode.promises), *epilogue]


async def play(console: Console, stage: DemoStage, modes: Sequence[tuple[str, Player]]) -> list[FailureMode]:
    """Play `modes` one after another and show progress."""
    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    played = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=len(modes))
        for number, (name, player) in enumerate(modes, 1):
            progress.update(task, description=f"{number}/{len(modes)} {name}")
            mode = await player(stage)
            kept = sum(promise.held for promise in mode.promises)
            console.print(f"{number}/{len(modes)} {name}: {kept} of {len(mode.promises)} promises kept")
            progress.advance(task)
            played.append(mode)
    return played


async def _recorded(stage: DemoStage, sidecar: DemoSidecar) -> list[Promise]:
    """Wait until the audit records are on disk, and return the promises about them."""
    until = stage.clock.now() + RECORDED_WITHIN
    while len(records := sidecar.records()) < stage.sent and stage.clock.now() < until:
        await stage.clock.sleep(0.05)
    figure = f"{len(records)} records of {stage.sent} requests"
    return [
        Promise("exactly one audit record per request", len(records) == stage.sent, figure),
        recorded_fast_fails(records),
    ]


async def _serve(console: Console, backend: Backend, sidecar: DemoSidecar) -> None:
    """Leave backend and sidecar running until a signal arrives."""
    backend.forget()
    interrupted = asyncio.Event()
    _on_signals(interrupted.set, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    show_urls(console, backend.url, sidecar.url, sidecar.admin, sidecar.token, sidecar.audit)
    await interrupted.wait()


def _on_signals(call: Callable[[], object], *numbers: signal.Signals) -> None:
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, call)
