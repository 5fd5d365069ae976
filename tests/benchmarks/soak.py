"""Run hours of load against one sidecar and check that its memory stays constant."""

from statistics import median
from time import perf_counter

from tests.benchmarks.peers import backstay
from tests.benchmarks.stage import Stage

SLICE_S = 5
TOLD_EVERY = 12  # slices: once a minute
FLAT = 0.05  # how far the last tenth's median may be above the first's
WARM = 0.1  # the share at the beginning that fills caches, logs and the interpreter's own free lists


def soak(stage: Stage, minutes: float) -> bool:
    """Load it, print memory as it goes, and tell whether it was flat."""
    memory: list[float] = []
    requests = 0
    with stage.playing([backstay(stage.builds[0])]) as (_, sidecar):
        until = perf_counter() + minutes * 60
        while perf_counter() < until or len(memory) < 20:
            got = stage.load.wrk(sidecar, SLICE_S)
            assert not got.failed, got
            requests += got.answered
            memory.append(sidecar.memory().rss)
            if len(memory) % TOLD_EVERY == 0:
                print(f"{requests:>12,} requests  {memory[-1]:7.1f} MiB  {got.per_second:9,.0f}/s", flush=True)
    kept = memory[int(len(memory) * WARM) :]
    share = max(1, len(kept) // 10)
    first, last = median(kept[:share]), median(kept[-share:])
    growth = last / first - 1
    verdict = "flat" if growth <= FLAT else f"NOT flat: more than {FLAT:.0%}"
    told = f"from {first:.1f} to {last:.1f} MiB, {growth:+.1%}: {verdict}"
    print(f"{stage.builds[0].name}: memory after {requests:,} requests: {told}")
    return growth <= FLAT
