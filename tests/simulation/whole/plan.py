"""What happens in one run, made from one integer: the settings, who comes when, what the backend does, and the faults.

A plan is data, so that a run can be shortened by leaving out events while everything else stays as it was. Random
choices during a run come from generators of their own, one for each part, which the same integer seeds.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

LAST_MS = 3000  # nobody comes later, and every fault begins before
HEALED_MS = 5000  # by then every fault is over
END_MS = 12_000  # by then nothing is under way any more

READS = ("load", "history", "lists")
WRITES = ("create", "update", "touch")


class Act(NamedTuple):
    """One request of a client: when, of which kind, for whom, through which replica.

    `intent` numbers what the client wants: a repetition has the intent, and so the key, of an earlier request. `keyed`:
    it sends an Idempotency-Key of its own. `own_ms`: its own deadline. `leaves_ms`: after how long it leaves.
    `slow_ms`: how long it waits before it reads each piece of a response. `large`: its body is too large to be sent
    again.
    """

    at_ms: int
    kind: str
    user: str
    report: str
    replica: int
    intent: int
    keyed: bool
    own_ms: int | None
    leaves_ms: int | None
    slow_ms: int = 0
    large: bool = False


class Fault(NamedTuple):
    """Something that goes wrong: what, where, and for how long."""

    at_ms: int
    kind: str
    where: str
    other: str
    for_ms: int


class Behaviour(NamedTuple):
    """What the backend does with one call: its kind, how long it takes, and when in between a write takes effect."""

    kind: str
    after_ms: int
    takes_effect: float


@dataclass(frozen=True)
class Plan:
    """One run. `split`: the chance that a write is cut in two. `eager`: whether requests run in eager tasks.

    `recovers`: a session that is not there is created, and the lists have a fallback.
    """

    seed: int
    replicas: int
    shared: bool
    durability: str
    honours: bool
    unique: bool
    rotate: bool
    split: float
    eager: bool
    recovers: bool
    behaviours: tuple[Behaviour, ...]
    events: tuple[Act | Fault, ...]

    def of_only(self, events: tuple[Act | Fault, ...]) -> "Plan":
        """Return the plan with only these events."""
        return replace(self, events=events)

    @property
    def acts(self) -> list[Act]:
        """Return who comes."""
        return [event for event in self.events if isinstance(event, Act)]

    @property
    def faults(self) -> list[Fault]:
        """Return what goes wrong."""
        return [event for event in self.events if isinstance(event, Fault)]

    def generator(self, part: str) -> Random:
        """Return the generator of one part."""
        return Random(f"{self.seed}:{part}")


_FAULTS = (
    "reset", "cut", "slow", "loss", "kill", "kill", "power", "pause", "clock", "full", "slow disk", "fsync", "short",
)  # fmt: skip
_OF_REDIS = ("redis stalls", "redis away", "redis fails over", "redis empty", "redis refuses")
_LATER = ("isolated", "reload", "drain")  # faults that have a generator of their own
_CALM = ("ok",) * 12 + ("stream", "close")
_ROUGH = ("ok",) * 8 + ("stream", "close", "503", "429", "404", "reset", "late", "half", "hang", "500", "409")
_DAYS = (_CALM, _CALM, _ROUGH)


def plan_of(seed: int) -> Plan:
    """Return the plan of a seed."""
    random = Random(f"{seed}:plan")
    replicas = random.choice([1, 2, 2, 2, 3])
    shared = replicas > 1 or random.random() < 0.5
    hosts = [f"r{number}" for number in range(replicas)]
    events: tuple[Act | Fault, ...] = (*_acts(random, replicas), *_faults(random, hosts, shared=shared))
    kinds = random.choice(_DAYS)
    plan = Plan(
        seed, replicas, shared, random.choice(["batch", "batch", "blocking", "strict"]), random.random() < 0.5,
        random.random() < 0.4, random.random() < 0.3, random.choice([0.0, 0.1, 0.5]), True, False,
        tuple(_behaviour(random, kinds) for _ in range(random.randint(4, 12))), events,
    )  # fmt: skip
    return _with_more(plan, Random(f"{seed}:more"), hosts)


def _with_more(plan: Plan, random: Random, hosts: list[str]) -> Plan:
    """Add large and slow transfers, ordinary tasks, and what an operator does."""
    behaviours, events = plan.behaviours, plan.events
    if random.random() < 0.3:
        behaviours = tuple(
            each._replace(kind="large") if each.kind in ("ok", "stream") and random.random() < 0.4 else each
            for each in behaviours
        )
        events = tuple(_slowed(event, random) if isinstance(event, Act) else event for event in events)
    for _ in range(random.choice([0, 0, 0, 1, 2])):
        fault = Fault(
            random.randint(0, LAST_MS), random.choice(_LATER), random.choice(hosts), "", random.choice([60, 200, 700])
        )
        events = (*events, fault)
    plan = replace(plan, eager=random.random() < 0.7, behaviours=behaviours, events=events)
    if random.random() < 0.3:
        behaviours = tuple(_ended(each, random) for each in behaviours)
        plan = replace(plan, recovers=True, behaviours=behaviours)
    return plan


def _ended(behaviour: Behaviour, random: Random) -> Behaviour:
    """Let a call find no session, or an ended one, now and then."""
    return behaviour._replace(kind=random.choice(["404", "401"])) if random.random() < 0.15 else behaviour


def _slowed(act: Act, random: Random) -> Act:
    large = act.kind in ("update", "touch") and random.random() < 0.3
    return act._replace(slow_ms=random.choice([0, 0, 0, 5, 50, 400]), large=large)


def _behaviour(random: Random, kinds: tuple[str, ...]) -> Behaviour:
    after_ms = random.choice([0, 1, 5, 20, 60, 100, 250, 600])
    return Behaviour(random.choice(kinds), after_ms, random.choice([0.0, 0.5, 1.0]))


def _acts(random: Random, replicas: int) -> list[Act]:
    users = random.choice([["ada"], ["ada", "ada", "bob"], ["ada", "bob", "cyd", "dan"]])
    kinds = random.choice([
        ["load", "history", "history", "lists", "update", "touch", "create"],
        ["create", "create", "load"],
        ["history", "lists", "update"],
        ["history", "history", "history", "lists", "lists", "update", "touch"],
    ])  # fmt: skip
    step = random.choice([1, 5, 25])
    acts: list[Act] = []
    for _ in range(random.randint(8, 30)):
        earlier = [act for act in acts if act.kind == "create"]
        at_ms = random.randint(0, LAST_MS // 25) * 25 + random.randint(0, 3) * step
        if earlier and random.random() < 0.3:
            again = random.choice(earlier)
            later_ms = again.at_ms + random.choice([0, 10, 100, 700])
            acts.append(again._replace(at_ms=later_ms, replica=random.randrange(replicas)))
            continue
        acts.append(
            Act(
                at_ms, random.choice(kinds), random.choice(users), random.choice(["a1", "a1", "b2"]),
                random.randrange(replicas), len(acts), random.random() < 0.6,
                random.choice([None, None, None, 60, 333, 900]), random.choice([None, None, None, None, 30, 400]),
            )
        )  # fmt: skip
    return acts


def _faults(random: Random, hosts: list[str], *, shared: bool) -> list[Fault]:
    kinds = [*_FAULTS, *(_OF_REDIS * 2 if shared else ())]
    faults = []
    for _ in range(random.choice([0, 0, 1, 1, 2, 3])):
        one = random.choice(hosts)
        others = ["backend", "clients", *(["redis"] if shared else [])]
        for_ms = random.choice([20, 60, 200, 700, 1500])
        faults.append(Fault(random.randint(0, LAST_MS), random.choice(kinds), one, random.choice(others), for_ms))
    return faults
