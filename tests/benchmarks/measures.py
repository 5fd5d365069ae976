"""The measurements, one function each. Peers take turns within each round, so that a disturbance affects all."""

from collections.abc import Callable, Sequence
from math import nan
from time import sleep

from tests.benchmarks.load import Latency, Throughput
from tests.benchmarks.peers import Peer, backstay
from tests.benchmarks.running import Program
from tests.benchmarks.stage import Stage

RATE = 500.0  # requests a second of the open loop
QUIET_MS = 0.5  # the direct path's own p99, beyond which the machine and not the proxy is measured
THROWN = 2  # how many noisy rounds a peer may have for each that counts
SETTLED_S = 0.5  # after its start, until idle memory is read
MANY = 5_000
ROUTES = (1, 200)
CONNECTIONS = (10, 100, 1_000, MANY)
SUBJECTS = (10, 1_000, 100_000)


def start_up(stage: Stage, peers: Sequence[Peer]) -> None:
    """Measure the time from exec to the first 200, and what is occupied then.

    The very first start of each is not counted: it reads files that the system has not read, and compiles bytecode.
    """
    ready = stage.results.figure("start", "start-up to ready", "s")
    pss, rss = (stage.results.figure(f"idle_{kind}", f"memory, idle, {kind.upper()}", "MiB") for kind in ("pss", "rss"))
    with stage.playing(peers):
        pass
    with stage.backend() as backend:
        for _ in range(stage.rounds):
            for peer in peers:
                try:
                    with stage.started(peer, backend) as program:
                        ready.add(peer.name, program.ready_s)
                        sleep(SETTLED_S)
                        memory = program.memory()
                        pss.add(peer.name, memory.pss)
                        rss.add(peer.name, memory.rss)
                except RuntimeError as error:
                    stage.results.remark(str(error))


def throughput(stage: Stage, peers: Sequence[Peer]) -> None:
    """Measure distinct small GETs on 32 connections, and what the proxy pays for one."""
    rate = stage.results.figure("throughput", "distinct small GETs, 32 connections", "requests/s")
    p99 = stage.results.figure("p99", "p99 with 32 connections", "ms")
    cpu = stage.results.figure("cpu", "CPU of the proxy", "µs/request")
    with stage.playing(peers) as programs:
        for program in programs if stage.rounds > 1 else ():
            stage.load.wrk(program, 1)  # warm
        for _ in range(stage.rounds):
            for program in programs:
                got, cpu_us = costed(stage, program, stage.seconds)
                rate.add(program.name, got.per_second)
                p99.add(program.name, got.p99_ms)
                cpu.add(program.name, cpu_us)


def costed(stage: Stage, program: Program, seconds: float) -> tuple[Throughput, float]:
    """Return wrk's figures and the CPU microseconds that the program used for one request."""
    before = program.cpu_s()
    got = stage.load.wrk(program, seconds)
    used = program.cpu_s() - before
    stage.results.fail(program.name, "32 connections", got.failed)
    return got, used / got.answered * 1e6 if got.answered else nan


def latency(stage: Stage, peers: Sequence[Peer]) -> None:
    """Measure what a proxy adds at a fixed rate: each round beside a direct one just before it, which must be quiet."""
    added = [
        stage.results.figure(f"added_{name}", f"latency added at {RATE:.0f} requests/s, {title}", "ms")
        for name, title in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"))
    ]
    own = stage.results.figure("direct_p99", f"the direct path's own p99 at {RATE:.0f} requests/s", "ms")
    with stage.playing(peers) as (direct, *programs):
        thrown = dict.fromkeys((program.name for program in programs), 0)
        for _ in range(stage.rounds):
            for program in programs:
                without = _quiet(stage, direct, program, thrown)
                through = stage.load.steady(program, RATE, stage.seconds) if without else None
                for figure, value in zip(added, _more(through, without), strict=True):
                    figure.add(program.name, value)
                if without:
                    own.add(direct.name, without.p99)
                if through:
                    stage.results.fail(program.name, f"{RATE:.0f} requests/s", through.failed)
    if total := sum(thrown.values()):
        each = ", ".join(f"{name} {count}" for name, count in thrown.items() if count)
        stage.results.remark(
            f"latency: {total} rounds were thrown away and repeated, because the direct path's own p99 was over "
            f"{QUIET_MS} ms ({each}); a peer for whom that was {stage.rounds * THROWN} times has fewer rounds, or none"
        )


def _quiet(stage: Stage, direct: Program, program: Program, thrown: dict[str, int]) -> Latency | None:
    """Measure the direct path until it is quiet; nothing, if it would not be."""
    while thrown[program.name] < stage.rounds * THROWN:
        without = stage.load.steady(direct, RATE, stage.seconds)
        if without.p99 <= QUIET_MS:
            return without
        thrown[program.name] += 1
    return None


def _more(through: Latency | None, without: Latency | None) -> tuple[float, float, float]:
    """Return what is added to p50, p99 and p99.9: NaN, where the machine was not quiet."""
    if through is None or without is None:
        return nan, nan, nan
    return through.p50 - without.p50, through.p99 - without.p99, through.p999 - without.p999


def bodies(stage: Stage, peers: Sequence[Peer]) -> None:
    """Measure bodies of one MiB, each way."""
    ways = {
        "down": ("1 MiB answers", stage.load.download),
        "up": ("1 MiB uploads", stage.load.upload),
    }
    with stage.playing(peers) as programs:
        for _ in range(stage.rounds):
            for key, (title, carry) in ways.items():
                figure = stage.results.figure(key, title, "MiB/s")
                for program in programs:
                    got = carry(program, 1)
                    figure.add(program.name, got.per_second)
                    stage.results.fail(program.name, title, got.failed)


def burst(stage: Stage, peers: Sequence[Peer], count: int = 1_000) -> None:
    """Measure how long it takes until each of many connections that come at once is answered."""
    figure = stage.results.figure("burst", f"{count:,} new connections at once, all answered", "ms")
    with stage.playing(peers) as programs:
        for _ in range(stage.rounds):
            for program in programs:
                with stage.load.crowd(program, count, at_once=count) as crowd:
                    figure.add(program.name, crowd.took_ms)
                    stage.results.fail(program.name, "the burst", count - crowd.answered)


def idle(stage: Stage, peers: Sequence[Peer]) -> None:
    """Measure what many kept-alive connections cost that say nothing. Once: memory does not depend on the moment."""
    count = stage.guests
    held = stage.results.figure("held", "kept-alive connections that stayed open", "")
    memory = stage.results.figure("held_pss", f"memory with {count:,} idle connections, PSS", "MiB")
    beside = stage.results.figure("held_rate", f"distinct small GETs beside {count:,} idle connections", "requests/s")
    with stage.playing(peers) as (_, *programs):
        for program in programs:
            with stage.load.crowd(program, count, at_once=100) as crowd:
                memory.add(program.name, program.memory().pss)
                got, _ = costed(stage, program, stage.seconds)
                beside.add(program.name, got.per_second)
                still = crowd.count_open()
            held.add(program.name, still)
            if still < count:
                stage.results.remark(
                    f"{program.name}: {still:,} of {count:,} idle connections were answered and stayed"
                )


def many(stage: Stage, peers: Sequence[Peer]) -> None:
    """Measure everybody at 5,000 connections that are all busy."""
    rate = stage.results.figure("many", f"distinct small GETs, {MANY:,} connections", "requests/s")
    pss, rss = (
        stage.results.figure(f"many_{kind}", f"memory at {MANY:,} busy connections, {kind.upper()}", "MiB")
        for kind in ("pss", "rss")
    )
    with stage.playing(peers) as programs:
        for _ in range(stage.rounds):
            for program in programs:
                got = stage.load.crowded(program, programs[0], max(1, stage.seconds / 2), connections=MANY)
                stage.results.fail(program.name, rate.title, got.failed)
                rate.add(program.name, got.per_second)
                pss.add(program.name, got.memory.pss)
                rss.add(program.name, got.memory.rss)


def scale(stage: Stage, peers: Sequence[Peer]) -> None:
    """Measure what must not grow: the same sidecar in as many processes as there are cases, which take turns."""
    del peers  # connections, subjects and routes are counted here against each other, not against others
    build = stage.builds[0]
    cases = {
        **{backstay(build, f"{count:,} connections"): (count, 1_000) for count in CONNECTIONS},
        **{backstay(build, f"{count:,} subjects"): (32, count) for count in SUBJECTS},
        **{backstay(build, f"{count:,} route{'s' * (count > 1)}", count): (32, 1_000) for count in ROUTES},
    }
    shapes = {peer.name: shape for peer, shape in cases.items()}
    rate = stage.results.figure("scale", "distinct small GETs", "requests/s")
    cpu = stage.results.figure("scale_cpu", "CPU of the proxy", "µs/request")
    pss = stage.results.figure("scale_pss", "memory, PSS", "MiB")
    with stage.playing(list(cases)) as (backend, *programs):
        for _ in range(stage.rounds):
            for program in programs:
                connections, subjects = shapes[program.name]
                got = stage.load.crowded(
                    program, backend, stage.seconds, connections=connections, subjects=subjects
                )  # fmt: skip
                stage.results.fail(program.name, rate.title, got.failed)
                rate.add(program.name, got.per_second)
                cpu.add(program.name, got.cpu_us)
                pss.add(program.name, got.memory.pss)


MEASURES: dict[str, Callable[[Stage, Sequence[Peer]], None]] = {
    "start-up": start_up, "throughput": throughput, "latency": latency, "bodies": bodies, "burst": burst,
    "idle": idle, "many": many, "scale": scale,
}  # fmt: skip
