"""`python -m tests.fuzz.legs [--seconds 1800] [--backstay PATH]`: fuzz a running sidecar on both legs at once.

Hostile clients and a hostile backend speak over real sockets; an honest client asks an honest backend through the same
sidecar. At the end nothing was raised, every honest request had its own answer, and the trail is whole and holds one
line for each request that finished and each that was refused.
"""

import argparse
import asyncio
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from proxy.audit.files import lines, trails
from proxy.clock import SystemClock
from proxy.demo.sidecar_process import COMMAND
from tests.e2e.sidecar import Child, Scrape, environment, sidecar
from tests.fuzz.hostility import PATIENCE_S, Backend, HonestLine, HostileLine, Received, Sayings, attack, be_honest
from tests.loop import CheckedLoop

MOST_MEMORY = 200 << 20  # bytes, resident
_CALLERS = 16
_QUIET_S = 0.25  # between two looks at the metrics, which must be equal
_LOOKS = 4
_HIGH_WATER = re.compile(r"VmHWM:\s+(\d+) kB")
_HONEST = re.compile(r"/honest/\d+")
_NOT_WORSE = ("debug", "info", "warning")
_SLOW = "backstay.targets"  # says at any level how slow the backend is
_clock = SystemClock()
_CONFIG = """
[listen]
head_timeout = "500ms"
keepalive_timeout = "2s"
idle_timeout = "1s"
[upstreams.sessions]
url = "{hostile}"
connect_timeout = "30s"
breaker = {{ failure_threshold = 1000000000 }}
[upstreams.honest]
url = "{honest}"
connect_timeout = "30s"
breaker = {{ failure_threshold = 1000000000 }}
[defaults]
replay_limit = "1KiB"
idempotency = "inject"
upstream_honours_idempotency = true
retry = {{ initial_delay = "1ms", max_delay = "2ms" }}
[[routes]]
operation = "honest"
match = "GET /honest/{{n}}"
upstream = "honest"
total_timeout = "120s"
[[routes]]
operation = "honest-head"
match = "HEAD /honest/{{n}}"
upstream = "honest"
total_timeout = "120s"
[[routes]]
operation = "honest-write"
match = "POST /honest/{{n}}"
upstream = "honest"
total_timeout = "120s"
[[routes]]
operation = "again"
match = "GET /again/{{n}}"
subject = "path:n"
coalesce = "subject"
reuse = "1s"
stale_if_error = "5s"
[[routes]]
operation = "kept"
match = "GET /kept/{{n}}"
reuse = "1s"
fallback = {{ status = 200, body = {{ degraded = true }} }}
[[routes]]
operation = "keyed"
match = "POST /keyed"
idempotency = "replay"
"""


@dataclass(slots=True)
class Figures:
    """What was counted, by whom."""

    heard: Received
    finished: int = 0  # by the metrics
    refused: int = 0
    trail: int = 0  # lines about requests
    trail_refused: int = 0  # those of them about refusals
    trail_honest: int = 0
    compiled: str = ""  # "yes" or "no", by the metrics
    memory: int = 0  # bytes, resident, at most
    looks: list[int] = field(default_factory=list)  # the same, while it went on
    status: int | None = None  # of the process's end
    verdict: str = ""  # of `backstay audit verify`
    raised: list[str] = field(default_factory=list)  # lines of the log

    @property
    def course(self) -> str:
        """Return the most memory by each tenth of the time, in MiB."""
        looks = self.looks
        return ", ".join(_mib(looks[len(looks) * tenth // 10]) for tenth in range(10)) if looks else "unknown"

    def __str__(self) -> str:
        answers = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.heard.answers.items()))
        return "\n".join(
            (
                f"compiled: {self.compiled}",
                f"hostile conversations {self.heard.said:,}; heard {answers}",
                f"honest requests {self.heard.honest:,}; in the trail {self.trail_honest:,}",
                f"finished {self.finished:,} + refused {self.refused:,} = {self.finished + self.refused:,}; "
                f"trail lines {self.trail:,}",
                f"memory at most {_mib(self.memory)} MiB, in the course of it {self.course}",
                f"exit status {self.status}; lines of the log that are worse than a warning: {len(self.raised)}",
                f"trail: {self.verdict}",
            )
        )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f}"


def problems(figures: Figures) -> list[str]:
    """Return what must not be."""
    heard, answered = figures.heard, sum(figures.heard.answers.values()) + figures.heard.honest
    counted = figures.finished + figures.refused
    wrong = {
        f"{len(figures.raised)} lines of the log are worse than a warning: {figures.raised[:3]}": bool(figures.raised),
        f"it ended with status {figures.status}": figures.status != 0,
        f"it took {figures.memory >> 20} MiB": figures.memory > MOST_MEMORY,
        f"the trail has {figures.trail} lines for {counted} requests": figures.trail != counted,
        f"the trail has {figures.trail_refused} refusals of {figures.refused}": figures.trail_refused
        != figures.refused,
        f"the trail has {figures.trail_honest} of {heard.honest} honest ones": figures.trail_honest != heard.honest,
        f"clients heard {answered} answers to {counted} requests": answered > counted,
        "nothing was finished, or nothing refused": not figures.finished or not figures.refused,
        f"the trail is {figures.verdict or 'not verified'}": not figures.verdict.startswith(("whole", "unbroken")),
    }
    return [*heard.problems[:5], *(what for what, is_so in wrong.items() if is_so)]


async def play(folder: Path, seed: str, command: Sequence[str], over: Callable[[int], bool]) -> Figures:
    """Fuzz a sidecar whose files are in `folder` until it is `over`, which is told the number of conversations."""
    loop, heard, sayings = asyncio.get_running_loop(), Received(), Sayings(seed)
    backend, figures = Backend(sayings), Figures(heard)
    hostile = await loop.create_server(lambda: HostileLine(backend), "127.0.0.1", 0)
    honest = await loop.create_server(lambda: HonestLine(backend), "127.0.0.1", 0)
    urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in (hostile, honest)]
    config = _CONFIG.format(hostile=urls[0], honest=urls[1])
    more = {"defaults__total_timeout": "400ms"} | ({} if command == COMMAND else {"PYTHONPATH": ""})
    try:
        async with sidecar(folder, urls[0], config, command, **more) as child:
            await _everybody(child, sayings, figures, over)
            backend.end()
            if child.process.returncode is None:
                await _count(child, figures)
            figures.status = await child.stop()
            await _all_closed(backend)
    except AssertionError:  # a traceback in the log, of which more is told below
        if not (folder / "audit.jsonl").exists():
            raise  # it did not even start
    finally:
        hostile.close()
        honest.close()
    figures.raised += _worse_than_warnings((folder / "stderr.log").read_text(errors="replace"))
    _read_trail(folder / "audit.jsonl", figures)
    figures.verdict = await _verified(command, folder, more)
    return figures


async def _everybody(child: Child, sayings: Sayings, figures: Figures, over: Callable[[int], bool]) -> None:
    """Let clients speak until it is over, or the sidecar is gone."""
    port, heard = int(child.url.rpartition(":")[2]), figures.heard

    def ended() -> bool:
        return over(heard.said) or child.process.returncode is not None

    async def hostile() -> None:
        while not ended():
            await attack(port, sayings, heard)

    async def look() -> None:
        while not ended():
            figures.looks.append(_most_memory(child.process.pid))
            await _clock.sleep(_QUIET_S)

    async def unless_gone(doing: Awaitable[None]) -> None:
        try:
            await doing
        except OSError as refused:
            heard.problems.append(f"the sidecar is gone: {refused}")

    async with asyncio.TaskGroup() as together:
        for doing in (*(hostile() for _ in range(_CALLERS)), be_honest(port, heard, ended), look()):
            together.create_task(unless_gone(doing))


async def _all_closed(backend: Backend) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while backend.lines:
            await _clock.sleep(0.01)


async def _count(child: Child, figures: Figures) -> None:
    """Take the counts once they no longer move: the clients have left, so nothing more comes."""
    looks: list[tuple[float, float]] = []
    while len(looks) < _LOOKS or len(set(looks[-_LOOKS:])) > 1:
        settled = await child.settled()
        looks.append(_counts(settled))
        await _clock.sleep(_QUIET_S)
    figures.finished, figures.refused = map(int, looks[-1])
    builds = [dict(labels) for name, labels in settled.samples if name == "backstay_build_info"]
    figures.compiled = builds[0]["compiled"]
    figures.memory = _most_memory(child.process.pid)


def _most_memory(pid: int) -> int:
    """Return the most bytes that a process ever had resident."""
    found = _HIGH_WATER.search(Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) << 10 if found is not None else 0  # a process that has ended has no memory


def _counts(scrape: Scrape) -> tuple[float, float]:
    """Return the requests, and what was refused before it was one: the others that were refused are among both."""
    refused = scrape.total("backstay_requests_total", outcome="refused")
    return scrape.total("backstay_requests_total"), scrape.total("backstay_bad_requests_total") - refused


def _worse_than_warnings(log: str) -> Iterator[str]:
    """Yield the lines of the log that no hostile peer may cause: errors, and what is no line of the log at all."""
    for line in log.splitlines():
        try:
            said = orjson.loads(line)
            fine = said["level"] in _NOT_WORSE or said["logger"] == _SLOW
        except (orjson.JSONDecodeError, KeyError, TypeError):
            fine = False
        if not fine:
            yield line[:2000]


def _read_trail(path: Path, figures: Figures) -> None:
    for trail in trails(path):
        for line in lines(trail.files):
            record = orjson.loads(line.data)
            if "note" in record or record.get("operation") == "circuit":
                continue
            figures.trail += 1
            figures.trail_refused += record["operation"] == "bad-request"
            figures.trail_honest += _HONEST.fullmatch(record.get("path", "")) is not None


async def _verified(command: Sequence[str], folder: Path, more: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, "audit", "verify", "audit.jsonl", cwd=folder, env=environment(**more), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return said.decode().strip()


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser("python -m tests.fuzz.legs", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0, help="default: %(default)s")
    parser.add_argument("--backstay", metavar="PATH", help="the program to fuzz, which may be compiled; default: this")
    parser.add_argument(
        "--seed", default=secrets.token_hex(4), help="of what is said; who says it when is left to chance"
    )
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="where log and trail are kept")
    return parser.parse_args()


def main() -> int:
    """Run; return the exit status: 1 for a finding."""
    said = arguments()
    command = (said.backstay,) if said.backstay else COMMAND
    until = _clock.now() + said.seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-legs-") as name:
        folder = Path(name)
        with asyncio.Runner(loop_factory=CheckedLoop) as runner:
            figures = runner.run(play(folder, said.seed, command, lambda _: _clock.now() >= until))
        found = problems(figures)
        print(f"{' '.join(command)}, seed {said.seed}, {said.seconds:.0f} s\n{figures}")
        if found:
            kept = said.findings / f"legs-{said.seed}"
            shutil.copytree(folder, kept, dirs_exist_ok=True)
            print("FOUND:", *found, f"log and trail: {kept}", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
