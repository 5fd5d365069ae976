"""Judge runs: play the plan of a seed, check every invariant, count what happened, and shorten what failed."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from tests.simulation.whole.apart import BrokenRunError, apart
from tests.simulation.whole.counts import counts
from tests.simulation.whole.invariants import Violation, violations
from tests.simulation.whole.plan import Act, Fault, Plan, plan_of
from tests.simulation.whole.world import played


class Verdict(NamedTuple):
    """What a run showed. `digest` is of every byte that the network delivered, and when."""

    plan: Plan
    violations: tuple[Violation, ...]
    digest: str
    said: tuple[str, ...]
    counts: Counter[str]


class Told(NamedTuple):
    """What a run showed, in short: the lines of what it broke, and what happened."""

    seed: int
    digest: str
    broken: tuple[str, ...]
    counts: Counter[str]


def judge(plan: Plan) -> Verdict:
    """Play a plan in a process of its own and check every invariant."""
    return apart(partial(_judge, plan))


def judge_seeds(seeds: Sequence[int]) -> list[Told]:
    """Judge the plans of some seeds in one process. Raise BrokenRunError."""
    try:
        return apart(partial(_judge_all, seeds))
    except BrokenRunError as error:
        raise BrokenRunError(f"in the seeds {seeds[0]} to {seeds[-1]}: {error}") from None


def _judge(plan: Plan) -> Verdict:
    with played(plan) as run:
        world = run.world
        return Verdict(plan, tuple(violations(run)), world.network.digest, tuple(world.said), counts(world))


def _judge_all(seeds: Sequence[int]) -> list[Told]:
    return [_told(_judge(plan_of(seed))) for seed in seeds]


def _told(verdict: Verdict) -> Told:
    broken = tuple(f"{broken.name}: {broken.what}" for broken in verdict.violations)
    return Told(verdict.plan.seed, verdict.digest, broken, verdict.counts)


def shortened(verdict: Verdict) -> Verdict:
    """Leave out events while an invariant that was broken still is: first many at once, then one by one."""
    names = {violation.name for violation in verdict.violations}
    size = len(verdict.plan.events) // 2
    while size:
        verdict, smaller = _without(verdict, size, names)
        size = size // 2 if not smaller else min(size, len(verdict.plan.events) // 2)
    return verdict


def _without(verdict: Verdict, size: int, names: set[str]) -> tuple[Verdict, bool]:
    """Return the verdict without groups of so many events that are not needed, and whether there were any."""
    smaller, at = False, 0
    while at < len(verdict.plan.events):
        events = verdict.plan.events[:at] + verdict.plan.events[at + size :]
        tried = judge(verdict.plan.of_only(events))
        if names & {violation.name for violation in tried.violations}:
            verdict, smaller = tried, True
        else:
            at += size
    return verdict, smaller


def conversation(verdict: Verdict) -> str:
    """Return a run as a conversation, step by step."""
    plan = verdict.plan
    hosts = f"{plan.replicas} replica{'s' if plan.replicas > 1 else ''}"
    head = [
        f"seed {plan.seed}: {hosts}, store {'redis' if plan.shared else 'memory'}, durability {plan.durability},"
        f" the backend {'honours' if plan.honours else 'ignores'} keys and makes"
        f" {'one session' if plan.unique else 'as many sessions as asked'} for a user and a report",
        f"  requests run in {'eager' if plan.eager else 'ordinary'} tasks"
        + ("; a missing session is created, and lists have a fallback" if plan.recovers else ""),
        _behaviours(plan),
        *(_line(event) for event in sorted(plan.events, key=lambda event: event.at_ms)),
        "",
        "        ms  who      what",
    ]
    broken = [f"BROKEN {violation.name}: {violation.what}" for violation in verdict.violations]
    return "\n".join([*head, *verdict.said, "", f"digest {verdict.digest}", *(broken or ["every invariant holds"])])


def _line(event: Act | Fault) -> str:
    if isinstance(event, Fault):
        where = f"{event.where} and {event.other}" if event.other else event.where
        return f"  at {event.at_ms} ms: {event.kind}, {where}, for {event.for_ms} ms"
    more = [f"with key k{event.intent}"] if event.keyed else []
    more += [f"own deadline {event.own_ms} ms"] if event.own_ms is not None else []
    more += [f"leaves after {event.leaves_ms} ms"] if event.leaves_ms is not None else []
    more += [f"reads each piece {event.slow_ms} ms late"] if event.slow_ms else []
    more += ["large body"] if event.large else []
    what = f"{event.user} asks for {event.kind} {event.report} through r{event.replica}"
    return f"  at {event.at_ms} ms: {', '.join([what, *more])}"


def _behaviours(plan: Plan) -> str:
    calls = [f"{each.kind} after {each.after_ms} ms" for each in plan.behaviours]
    return f"  the backend's calls, in turn: {', '.join(calls)}"
