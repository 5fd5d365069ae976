"""Under any schedule of readers, writers, outages, crashes, refusing disks and clock steps: nothing old or foreign.

Each run has one backend and one disk, and a process that is killed and started again. Between, users read and write.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http.message import Request
from tests.settings import breaker_settings, recovery_rules
from tests.simulation.scripted import Step, answers, fails, refuses
from tests.simulation.virtual import now_ms, simulated
from tests.simulation.virtual_disk import LONGEST_COMMIT_S, TICK_S, Kept, SteppedClock, VirtualDisk
from tests.simulation.world import HISTORY, NO_RETRIES, UPDATE, Visitor, World, finish

RULES = breaker_settings(jitter=0.0, failure_threshold=100_000)
READ = replace(HISTORY, reuse_s=300.0, recovery=recovery_rules(stale_if_error_s=86_400.0), retry=NO_RETRIES)
WRITE = replace(UPDATE, retry=NO_RETRIES)
USERS, REPORTS = ("ada", "bob"), ("r1", "r2")
LAST_MS = 3000
SCHEDULES = int(os.environ.get("DURABLE_SCHEDULES", "200"))  # `.ci/run` plays 2,000
FATES = ("done", "done", "done", "refused", "unsent", "broken off", "broken off and done", "late")
UNWRITTEN_S = TICK_S + 5 * LONGEST_COMMIT_S  # several commits may be waiting
STEPS_S = (-90_000, -600, -5, -2, -2, 5, 600, 4000, 90_000)


class Act(NamedTuple):
    """One thing that happens at a time: a read, a write with its fate, or an event."""

    at_ms: int
    kind: str  # read, write, kill, step, disk, outage
    user: str
    report: str
    fate: str
    step_s: int
    takes_ms: int


ACTS = st.lists(
    st.builds(
        Act,
        st.integers(0, LAST_MS),
        st.sampled_from(("read",) * 6 + ("write",) * 4 + ("kill",) * 2 + ("step", "disk", "outage")),
        st.sampled_from(USERS), st.sampled_from(REPORTS), st.sampled_from(FATES), st.sampled_from(STEPS_S),
        st.integers(0, 120),
    ),
    min_size=3, max_size=24,
)  # fmt: skip


class Seen(NamedTuple):
    """A reader, and which version of its report had been acknowledged before it came."""

    user: str
    report: str
    least: int
    visitor: Visitor


class Run:
    """One backend, one disk, one process after another."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.disk = VirtualDisk()
        self.clock = SteppedClock()
        self.versions = Counter[str]()
        self.acknowledged = Counter[str]()
        self.outage = False
        self.kills = 0
        self.seen: list[Seen] = []
        self.writing: list[Act] = []  # the fates of writes that are on their way
        self.under_way: list[Visitor] = []
        self._start()

    def _start(self) -> None:
        self.kept = Kept(self.disk, self.clock, self.random)
        bundle = self.kept.bundle
        self.world = World(self.backend, (READ, WRITE), RULES)
        self.world.ports = replace(
            self.world.ports, store=bundle.responses, claims=bundle.claims, flights=self.kept.flights,
            replicas=bundle.replicas, cache_clock=bundle.clock,
        )  # fmt: skip

    def backend(self, request: Request, number: int) -> Step:
        """Do what a request asks for, as its fate is."""
        report = request.path.decode().rpartition("/")[2]
        if self.outage:
            return refuses()
        if request.method == "GET":
            user = (request.fields.get(b"authorization") or b"").decode()
            body = orjson.dumps([user, report, self.versions[report], now_ms()])
            return answers(200, body, after_s=self.random.uniform(0, 0.1))
        fate, takes_s = (request.fields.get(b"x-fate") or b"").decode(), self.random.uniform(0, 0.12)
        match fate:
            case "refused":
                return answers(403, after_s=takes_s)
            case "unsent":
                return refuses()
            case "broken off":
                return fails(after_s=takes_s)
            case "late":
                self.world.later(takes_s * 1000 + self.random.uniform(0, 1500), lambda: self._write(report))
                return fails(after_s=takes_s)
        step = answers(204, b"", after_s=takes_s) if fate == "done" else fails(after_s=takes_s)
        return step._replace(effect=lambda: self._write(report), effect_s=self.random.uniform(0, takes_s))

    def _write(self, report: str) -> None:
        self.versions[report] += 1

    def do(self, act: Act) -> None:
        """Let something happen now."""
        match act.kind:
            case "read":
                visitor = self.world.history(act.report, act.user)
                self.seen.append(Seen(act.user, act.report, self.acknowledged[act.report], visitor))
                self.under_way.append(visitor)
            case "write":
                visitor = self.world.patch(act.report, b"{}", act.user, X_Fate=act.fate)
                visitor.client.when_answered = lambda: self._acknowledge(act.report, visitor)
                self.under_way.append(visitor)
            case "kill":
                self.kill()
            case "step":
                self.clock.stepped_s += act.step_s
            case "disk":
                self.disk.refuses = not self.disk.refuses
            case "outage":
                self.outage = not self.outage

    def _acknowledge(self, report: str, visitor: Visitor) -> None:
        if visitor.status == 204:
            self.acknowledged[report] = max(self.acknowledged[report], self.versions[report])

    def kill(self) -> None:
        """End the process at once, and start the next one on what the disk has."""
        self.kills += 1
        self.kept.writer.die()
        for visitor in self.under_way:
            visitor.over.cancel()
        self.under_way.clear()
        self._start()

    async def play(self, acts: Sequence[Act]) -> None:
        """Let everything happen in its time; then the backend goes down, the process is killed, and all read again."""
        for act in sorted(acts):
            await self.world.until_ms(act.at_ms)
            self.do(act)
        await self.world.until_ms(LAST_MS + self.random.uniform(0, 200))
        self.outage = True
        self.kill()
        last = [Act(0, "read", user, report, "", 0, 0) for user in USERS for report in REPORTS]
        for act in last:
            self.do(act)
        await finish(*(each.visitor for each in self.seen[-len(last) :]))
        self.kept.writer.die()
        await self.world.until_ms(LAST_MS + 5_000)


def check(seen: Seen, kills: int) -> None:
    """Check one response: it is the reader's own, not from before an acknowledged write, and not younger than it is."""
    client = seen.visitor.client
    if client.status != 200:
        return
    user, report, version, made_ms = orjson.loads(client.body)
    assert (user, report) == (seen.user, seen.report)
    assert version >= seen.least
    age = client.fields.get(b"age")
    # with a clock that was set back, each kill loses the time that was not written down
    assert int(age or b"0") >= (client.at_ms - made_ms) / 1000 - 1 - kills * UNWRITTEN_S


@pytest.mark.timeout(1800)
@settings(max_examples=SCHEDULES, deadline=None)
@given(acts=ACTS, seed=st.integers(0, 2**32))
@simulated
async def test_any_schedule_with_crashes(acts: list[Act], seed: int) -> None:
    """The promises that hold whatever happens to the process, the disk, the clock and the backend."""
    run = Run(seed)
    await run.play(acts)
    for each in run.seen:
        check(each, run.kills)


@pytest.mark.parametrize("user", USERS)
@simulated
async def test_the_schedules_do_read_over_a_crash(user: str) -> None:
    """The reads after the last crash find what was kept: otherwise the test above would prove nothing."""
    run = Run(1)
    await run.play([Act(0, "read", user, "r1", "", 0, 0), Act(50, "step", user, "r1", "", -600, 0)])
    (last,) = [each for each in run.seen[-4:] if (each.user, each.report) == (user, "r1")]
    assert last.visitor.status == 200
    assert int(last.visitor.client.fields.get(b"age") or b"0") >= 2
