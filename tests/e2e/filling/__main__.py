"""Measure memory and an honest client's times under attacks, one by one and all at once.

`python -m tests.e2e.filling --seconds 300` does so for five minutes after the single attacks. `--backstay PATH`
measures another build. Everything listens on the loopback interface, on free ports. The sidecar and the honest pair
have one core, the attackers and their backend the other: what is measured is the sidecar's own time. For each attack
the honest client is measured in turns: alone, beside as much harmless traffic, and beside the attack. What counts is
the median of a kind's windows, so that a moment in which the machine was busy with something else decides nothing; and
where it is busy all the time, which shows when the honest client is alone, times are not judged.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil

from proxy.clock import SystemClock
from proxy.demo.sidecar_process import COMMAND
from tests.benchmarks.machine import cores, pinned, raise_file_limit
from tests.e2e.filling import backend, crowd, honest
from tests.e2e.filling.attacks import ATTACKS
from tests.e2e.filling.honest import Times
from tests.e2e.filling.remote import Remote
from tests.e2e.sidecar import sidecar

MIB = 1 << 20
MOST_MEMORY = 200 * MIB
MOST_SLOWDOWN = 2.0
MAX_MEMORY = "230MiB"  # nine tenths of the 256 MiB that the chart gives a pod
LOOK_S = 0.02
BUSY_S = 0.03  # p99 of the honest client alone; where it is longer, the machine is too busy to tell
KINDS = ("alone", "harmless", "attack")
TOGETHER = 0.2  # of the rate that each attack has by itself: the machine has one core for all of them
CONFIG = """
[upstreams.sessions]
url = "{upstream}"
connect_timeout = "30s"
breaker = {{ failure_threshold = 1000000000 }}
[upstreams.honest]
url = "{honest}"
connect_timeout = "30s"
[[routes]]
operation = "honest"
match = "GET /honest/{{n}}"
upstream = "honest"
[[routes]]
operation = "honest-write"
match = "POST /honest/{{n}}"
upstream = "honest"
[[routes]]
operation = "create"
match = "POST /api/sessions"
subject = "body:/reportId"
coalesce = "subject"
[[routes]]
operation = "load"
match = "GET /api/sessions/{{id}}"
subject = "path:id"
reuse = "10m"
restoration = "status"
[[routes]]
operation = "large"
match = "GET /large/{{id}}"
reuse = "10m"
[[routes]]
operation = "order"
match = "POST /order"
idempotency = "replay"
"""
_clock = SystemClock()


Window = tuple[str, float]  # a kind, and how many seconds


class Row(NamedTuple):
    """What was seen under one attack, or all: bytes of memory at the peak, times by kind, and what was done."""

    name: str
    peak: int
    times: dict[str, list[Times]]  # of each window
    done: dict[str, int]

    @property
    def busy(self) -> bool:
        """Tell whether the machine was too busy to judge times."""
        return self._p99("alone") > BUSY_S

    @property
    def holds(self) -> bool:
        """Tell whether it kept within both bounds, and nobody honest went without an answer."""
        slow = self._p99("attack") > MOST_SLOWDOWN * self._p99("harmless")
        return self.peak < MOST_MEMORY and (self.busy or not (slow or self._failed))

    @property
    def _failed(self) -> int:
        return sum(window.failed for window in self.times["attack"])

    def _p99(self, kind: str) -> float:
        return median(map(_p99, self.times[kind]))

    def __str__(self) -> str:
        shown = "  ".join(f"{self._p99(kind) * 1000:7.1f}" for kind in KINDS)
        failed = f" {self._failed} honest requests failed" if self._failed else ""
        busy = " the machine is too busy to judge times" if self.busy else ""
        return f"{self.name:24} {self.peak / MIB:6.0f} MiB  {shown}  {'' if self.holds else 'MISSED'}{failed}{busy}"


def _p99(times: Times) -> float:
    return sorted(times.seconds)[int(len(times.seconds) * 0.99)] if times.seconds else float("inf")


class Stage(NamedTuple):
    """The processes that are there for all attacks."""

    crowd: Remote
    honest: Remote
    config: str
    upstream: str
    command: Sequence[str]


async def under(on: Stage, name: str, attacks: Sequence[str], windows: Sequence[Window], share: float = 1.0) -> Row:
    """Attack a new sidecar for so many seconds, in windows between which the honest client has it for itself."""
    times: dict[str, list[Times]] = {kind: [] for kind in KINDS}
    done: dict[str, int] = {}
    with TemporaryDirectory() as folder:
        settings = {"listen__max_memory": MAX_MEMORY}
        if on.command[3:] != COMMAND:
            settings["PYTHONPATH"] = ""  # it is another build's
        async with sidecar(Path(folder), on.upstream, on.config, on.command, **settings) as child:
            process, peak = psutil.Process(child.process.pid), 0
            for kind, lasts_s in windows:
                if kind != "alone":
                    await on.crowd.ask(kind, child.url, list(attacks), share)
                measured = asyncio.ensure_future(on.honest.ask("measure", child.url, lasts_s))
                while not measured.done():
                    peak = max(peak, process.memory_info().rss)
                    await asyncio.wait({measured}, timeout=LOOK_S)
                if kind != "alone":
                    for what, times_ in (await on.crowd.ask("stop")).items():
                        done[what] = done.get(what, 0) + times_
                seen = measured.result()
                if os.environ.get("SHOW"):
                    print("   ", kind, process.memory_info().rss / MIB, _p99(seen), seen.failed, flush=True)
                times[kind].append(seen)
            if os.environ.get("SHOW"):
                print(child.log[-1500:])
    return Row(name, peak, times, done)


def _windows(seconds: float, window_s: float) -> list[Window]:
    """Return which kind is measured when: twice as long as the others the attack, and in turns."""
    rounds = max(2, round(seconds / (2 * window_s)))
    return [("alone", window_s), ("harmless", window_s), ("attack", seconds / rounds)] * rounds


async def measure(command: Sequence[str], each_s: float, all_s: float, only: Sequence[str]) -> list[Row]:
    """Run every attack by itself, then all at once; print each row as it is known."""
    ours, theirs = cores()
    rows = []
    async with AsyncExitStack() as stack:
        starts = ((backend.start, theirs), (crowd.start, theirs), (honest.start, ours))
        remotes = [await stack.enter_async_context(Remote(start, core)) for start, core in starts]
        urls = {"upstream": await remotes[0].ask(), "honest": await remotes[2].ask("where")}
        pinned_command = pinned(ours, tuple(command))
        stage = Stage(remotes[1], remotes[2], CONFIG.format(**urls), urls["upstream"], pinned_command)
        print(f"{'attack':24} {'RSS':>10}  {'p99 ms':>7}  {'harmless':>7}  {'attack':>7}", flush=True)
        for name in (only or ATTACKS) if each_s else ():
            rows.append(await under(stage, name, [name], _windows(each_s, max(1.0, each_s / 4))))
            print(rows[-1], dict(rows[-1].done), flush=True)
        if all_s:
            windows, names = _windows(all_s, min(10.0, all_s / 6)), only or list(ATTACKS)
            rows.append(await under(stage, "all at once", names, windows, TOGETHER))
            print(rows[-1], dict(rows[-1].done), flush=True)
    return rows


def main() -> int:
    """Run as a command; 0 if memory and times kept within their bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long all attacks last together; 0: no time")
    parser.add_argument(
        "--each", type=float, default=8.0, help="how long each attack lasts by itself, in seconds; 0: no time"
    )
    parser.add_argument("--backstay", default=os.environ.get("BACKSTAY"), help="the executable to measure")
    parser.add_argument("only", nargs="*", help="attacks, by name; none: all of them")
    asked = parser.parse_args()
    raise_file_limit()
    command = (asked.backstay,) if asked.backstay else COMMAND
    rows = asyncio.run(measure(command, asked.each, asked.seconds, asked.only))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
