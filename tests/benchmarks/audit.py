"""Measure the cost of the audit trail: `python -m tests.benchmarks.audit [sink | request | read [RECORDS]]`."""

import asyncio
import gc
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from resource import RUSAGE_SELF, getrusage
from subprocess import run

from proxy.audit.chain import Chain, timestamp
from proxy.audit.files import trails
from proxy.audit.log import AuditLog
from proxy.audit.reader import Query, records, stats
from proxy.audit.record import Ledger
from proxy.clock import SystemClock
from proxy.exchange.state import Exchange
from tests.settings import log_rules, redaction
from tests.simulation.scripted import Step, answers, refuses
from tests.simulation.virtual import simulated
from tests.simulation.world import World
from tests.unit.audit.samples import fields

CLOCK = SystemClock()
OPERATIONS = ("session-create", "session-load", "history", "conversation-status")


async def sink(folder: Path, count: int = 300_000) -> None:
    """Measure records a second, appended in bursts as requests would, until the last one is fsynced."""
    log = AuditLog(folder / "audit.jsonl", clock=CLOCK, rules=log_rules(queue_limit=count))
    await log.start()
    document, began, appending = fields(1), CLOCK.now(), 0.0
    for _ in range(0, count, 1_000):
        start = CLOCK.now()
        for _ in range(1_000):
            log.append(document)
        appending += CLOCK.now() - start
        await CLOCK.sleep(0)
    await log.flush()
    took = CLOCK.now() - began
    assert log.records == count
    print(f"sink: {count / took:,.0f} records/s to the last fsync; append alone {appending / count * 1e6:.2f} µs")
    await log.close()


async def request(folder: Path, count: int = 20_000) -> None:
    """Measure what one request pays on its own path, and beside it what its record costs the loop a little later."""
    plain = await asyncio.to_thread(finished_exchange, [answers(201)])
    retried = await asyncio.to_thread(finished_exchange, [refuses(), answers(201)])
    log = AuditLog(folder / "audit.jsonl", clock=CLOCK, rules=log_rules())
    ledger = Ledger(log, "bench", redaction())
    await ledger.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)  # as the sidecar does at its start
    own, more = (best_us(partial(ledger.record, exchange), count) for exchange in (plain, retried))
    chain, (*_, document) = Chain(), log.newest
    sealing = best_us(lambda: chain.append_encoded(document), count)
    print(f"request: {own:.2f} µs to record, {more:.2f} µs after a retry; {sealing:.2f} µs to seal, later")
    await log.close()


def best_us(act: Callable[[], object], count: int) -> float:
    """Return the microseconds that one call takes: the best of five rounds, because others use this machine too."""
    rounds = []
    for _ in range(5):
        began = CLOCK.now()
        for _ in range(count // 5):
            act()
        rounds.append(CLOCK.now() - began)
    return min(rounds) / (count // 5) * 1e6


def finished_exchange(script: list[Step]) -> Exchange:
    """Return a create that an upstream with this script has answered."""
    world = World(script)

    async def play() -> None:
        await world.create().finish()

    simulated(play)()
    return world.ledger.records[0]


def generate(file: Path, count: int) -> None:
    """Write a trail of this many records, of which one in fifty failed."""
    chain, random = Chain(), Random(1)
    with file.open("wb") as out:
        for number in range(count):
            good = random.random() > 0.02
            changes = {
                "ts": timestamp(1_700_000_000 + number / 100),
                "operation": OPERATIONS[number % 4],
                "subject": f"val_{random.randrange(50_000)}",
                "status": 200 if good else 503,
                "success": good,
                "duration_ms": round(random.lognormvariate(5, 0.6), 3),
                "hash_of": "x" * 60,  # what metadata of a real request takes
            }
            out.write(chain.append(fields(number, **changes)))


def read(folder: Path, count: int = 2_000_000) -> None:
    """Measure a narrow query, all statistics and a verification, and DuckDB over the same file."""
    file = folder / "audit.jsonl"
    timed("generate", lambda: generate(file, count))
    print(f"{count:,} records, {file.stat().st_size / 1e9:.2f} GB")
    (trail,) = trails(file)
    timed("query one report", lambda: sum(1 for _ in records(trail, print, Query(report_id="val_123"))))
    timed("query failures", lambda: sum(1 for _ in records(trail, print, Query(failures=True))))
    timed("stats", lambda: stats(records(trail, print)).overall)
    print(f"peak memory: {getrusage(RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    for name, question in (("query one report", "subject = 'val_123'"), ("query failures", "success = false")):
        duckdb(name, f"SELECT count(*) FROM audit WHERE {question}", file)
    figures = "count(*), avg(success::int), avg(duration_ms), quantile_disc(duration_ms, 0.95)"
    duckdb("stats", f"SELECT operation, {figures} FROM audit GROUP BY 1", file)
    timed("verify", lambda: run([sys.executable, "-m", "proxy", "audit", "verify", str(file)], check=True).returncode)


def duckdb(name: str, statement: str, file: Path) -> None:
    """Time DuckDB in a process of its own."""
    command = [sys.executable, "-m", "proxy", "audit", "sql", statement, str(file)]
    timed(f"DuckDB {name}", lambda: run(command, check=True).returncode)


def timed(name: str, act: Callable[[], object]) -> None:
    """Print how long something took, and what came of it."""
    began = CLOCK.now()
    result = act()
    print(f"{name}: {CLOCK.now() - began:.1f} s {'' if result is None else result}", flush=True)


def main(what: str = "all", count: str = "2000000") -> None:
    """Run one measurement, or all."""
    for name, act in (("sink", sink), ("request", request)):
        if what in (name, "all"):
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(act(Path(folder)))
    if what in ("read", "all"):
        with tempfile.TemporaryDirectory() as folder:
            read(Path(folder), int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
