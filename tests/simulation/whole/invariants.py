"""What must hold in every run, each under its name. The docstring of an invariant is its paragraph."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from proxy.audit.checkpoint import read
from proxy.audit.files import NoTrailError, lines, trails
from proxy.audit.verify import Condition, Proof, verify
from tests.simulation.whole.clients import Seen
from tests.simulation.whole.plan import WRITES
from tests.simulation.whole.replica import DEADLINE_S, Replica
from tests.simulation.whole.world import Played, World

GRACE_S = 0.005
DURABLE_S = 0.1  # of a thread that is woken twice, and of the retention's
WORD_S = 0.06  # until a replica has heard of another's write: 50 ms, and the way to the client
MOST_CALLS = 1 + 3 + 1  # of one request: the first, the retries, and one more where a pooled connection was dead
BATCH_S = {False: 1.0, True: 2.5}  # seconds before a kill, or a power failure, whose records `batch` may lose
MOVES = {"closed": ("open",), "open": ("half_open",), "half_open": ("open", "closed")}
UNSETTLING = ("redis", "kill", "power", "pause", "cut", "slow", "loss", "reset")  # kinds that concern Redis, or time


class Violation(NamedTuple):
    """The name of an invariant, and what broke it."""

    name: str
    what: str


Found = Iterator[str]


def one_answer(world: World) -> Found:
    """Every request ends in exactly one way: a whole answer, a cut or refused connection, or the client leaves.

    Nobody gets two answers, and no answer is mixed with another: h11 reads them. Nobody waits until he gives up, unless
    the machine lost its power: then nothing tells its clients.
    """
    dark = {replica.name for replica in world.replicas if any(power for _, power in replica.killed)}
    for seen in world.clients.seen:
        if seen.ended == "given up" and f"r{seen.act.replica}" not in dark:
            yield f"{seen.id} got nothing at all"
        if seen.endings != 1:
            yield f"{seen.id} ended {seen.endings} times"


def no_strangers_bytes(world: World) -> Found:
    """What a backend told for one principal goes to this principal only."""
    for seen in world.clients.seen:
        told = seen.told
        if told is not None and told["user"] != seen.act.user:
            yield f"{seen.id} of {seen.act.user} got what {told['user']} was told"


def within_the_deadline(world: World) -> Found:
    """The head of an answer leaves at most 5 ms after the deadline: the route's, or the client's own shorter one.

    The time runs from the request's last byte, at the sidecar. A stopped process and a slow disk are not the sidecar's.
    Where the record must be durable first (`blocking`, `strict`), its fsync comes on top.
    """
    plan = world.plan
    if any(fault.kind in ("pause", "slow disk", "fsync", "full") for fault in plan.faults):
        return
    grace_s = GRACE_S + (0.0 if plan.durability == "batch" else DURABLE_S)
    for seen in world.clients.seen:
        own_s = DEADLINE_S if seen.act.own_ms is None else seen.act.own_ms / 1000
        if seen.ended == "answered" and seen.head_s > min(own_s, DEADLINE_S) + grace_s:
            yield f"{seen.id} was answered after {seen.head_s * 1000:.1f} ms"


def read_your_writes(world: World) -> Found:
    """A read that is asked for after the answer of a write sees it.

    Through the writer's own process: always. Through another: never from a kept answer, and no answer at all that is
    asked for 60 ms later, as long as nothing happens to Redis or to the time.
    """
    calm = is_calm(world)
    writes = [seen for seen in world.clients.seen if seen.act.kind in WRITES and seen.told is not None]
    for read_ in world.clients.seen:
        told = read_.told
        if told is None or read_.act.kind in WRITES:
            continue
        for write in writes:
            same = read_.by is write.by
            late_s = 0.0 if same or read_.cached else WORD_S
            if read_.asked < write.answered + late_s or not (same or calm):
                continue
            if (why := _is_older(read_, write)) is not None:
                yield f"{read_.id} ({'kept' if read_.cached else 'asked'}) saw {why} of {write.id}"


def _is_older(read_: Seen, write: Seen) -> str | None:
    told, wrote = read_.told, write.told
    assert told is not None
    assert wrote is not None
    what = "touched" if write.act.kind == "touch" else "version"
    if what == "touched":
        concerns = write.act.user == read_.act.user
    else:
        concerns = read_.act.kind != "lists" and read_.act.report == write.act.report
    return f"{what} {told[what]}, not the {wrote[what]}" if concerns and told[what] < wrote[what] else None


def is_calm(world: World) -> bool:
    """Tell whether nothing happens to Redis, to the way there, to a replica, or to the time."""
    return not any(fault.kind.startswith(UNSETTLING) for fault in world.plan.faults)


def created_once(world: World) -> Found:
    """A create takes effect once: always where the backend honours keys, and for a client's own key while all is calm.

    Where the backend does not honour keys, a failed attempt may have taken effect, and its key is free again.
    """
    made = Counter((call.user, call.about, call.key) for call in world.backend.created if call.key)
    failed = {call.key for call in world.backend.calls if call.behaviour.kind not in ("ok", "stream", "close")}
    failed |= {f"k{seen.act.intent}" for seen in world.clients.seen if seen.ended != "answered" or seen.status != 200}
    for (user, about, key), times in made.items():
        if times > 1 and (world.plan.honours or (is_calm(world) and key not in failed)):
            yield f"{key} of {user} created {about} {times} times"


def written_once(world: World) -> Found:
    """A write that nothing says is safe to repeat takes effect at most once."""
    for call in world.backend.calls:
        if call.method == "PATCH" or call.target == "/api/touch":
            times = sum(other.effects for other in world.backend.calls if other.id == call.id)
            if times > 1:
                yield f"{call.id} was done {times} times"


def calls_within_schedule(world: World) -> Found:
    """The backend gets no more calls for a request than its schedule of attempts has."""
    calls = Counter((call.id, call.method) for call in world.backend.calls)
    for (id_, method), count in calls.items():
        if count > MOST_CALLS:
            yield f"{id_} made {count} calls with {method}"


def nothing_left(world: World) -> Found:
    """When all is over, no process holds a flight, a permit, a claim, a connection or a record that is not written."""
    yield from world.restless
    for seen in world.clients.under_way:
        yield f"{seen.id} is still under way"


def no_bug(world: World) -> Found:
    """No callback or task ends with an exception that nobody expects."""
    for line in world.said:
        if "  loop  " in line or "store_listener_failed" in line:
            yield line.strip()


def records(replica: Replica) -> list[dict[str, Any]]:
    """Return every line of a replica's trail."""
    try:
        (trail,) = trails(replica.disk.folder / "audit.jsonl")
    except NoTrailError:
        return []
    found = (line.data for line in lines(trail.files))
    return [orjson.loads(line) for line in found if line.endswith(b"\n")]


def one_record(world: World) -> Found:
    """Every request has one record in the trail of the replica that took it, or is counted in a gap.

    A kill loses what was not written, in `batch` at most the last moments. A write whose client's own deadline passed
    is recorded when its outcome is known, at the latest at the route's deadline: until then a kill loses its record in
    `batch`. Nothing is ever recorded twice.
    """
    for replica in world.replicas:
        trail = records(replica)
        ids = Counter(record.get("correlation_id") for record in trail if "note" not in record)
        for id_, count in ids.items():
            if count > 1 and id_:
                yield f"{replica.name} has {count} records of {id_}"
        gaps = sum(int(record.get("gap", 0)) for record in trail)
        missing = [
            seen for seen in world.clients.seen
            if seen.ended == "answered" and seen.by in replica.processes and not ids[seen.id]
            and not _may_be_lost(world, replica, seen)
        ]  # fmt: skip
        if len(missing) > gaps:
            yield f"{replica.name} has no record of {', '.join(seen.id for seen in missing)}, and gaps of {gaps}"


def _may_be_lost(world: World, replica: Replica, seen: Seen) -> bool:
    if world.plan.durability != "batch":
        return False
    trouble = any(fault.kind in ("full", "slow disk", "fsync", "pause") for fault in world.plan.faults)
    within = {power: 10.0 if trouble else limit_s for power, limit_s in BATCH_S.items()}
    until = seen.answered
    if seen.act.own_ms is not None and seen.status == 504 and seen.act.kind in WRITES:
        until = max(until, seen.asked + DEADLINE_S)
    return any(at - within[power] < until and seen.answered < at + 1.0 for at, power in replica.killed)


def unbroken_chain(world: World) -> Found:
    """The verifier finds every trail whole, over all crashes, and no checkpoint says more than the trail has."""
    for replica in world.replicas:
        path = replica.disk.folder / "audit.jsonl"
        try:
            (trail,) = trails(path)
            claims = list(read(Path(f"{path}.checkpoints")))
        except NoTrailError:
            claims = []
        finding = verify(lines(trail.files), proof=Proof(claims))
        if finding.condition is not Condition.WHOLE:
            yield f"{replica.name}: {finding.condition.name}: {finding.detail}"


def legal_circuits(world: World) -> Found:
    """A circuit opens, half-opens and closes only in the order of its states."""
    for replica in world.replicas:
        found = [record for record in records(replica) if record.get("operation") == "circuit"]
        states: dict[tuple[str, str], str] = {}  # of each circuit of each process
        for record in found:
            which = record["id"].partition("-")[0], record["circuit"]
            before, states[which] = states.get(which, "closed"), record["outcome"]
            if record["outcome"] not in MOVES[before]:
                yield f"{record['circuit']} of {replica.name} went from {before} to {record['outcome']}"


INVARIANTS: tuple[Callable[[World], Found], ...] = (
    one_answer, no_strangers_bytes, within_the_deadline, read_your_writes, created_once, written_once,
    calls_within_schedule, nothing_left, no_bug, one_record, unbroken_chain, legal_circuits,
)  # fmt: skip


def violations(run: Played) -> list[Violation]:
    """Return what a run has broken."""
    if run.error is not None:
        return [Violation("the_run_ends", f"{type(run.error).__name__}: {run.error}")]
    return [Violation(check.__name__, what) for check in INVARIANTS for what in check(run.world)]
