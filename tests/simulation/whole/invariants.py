"""What must hold in every run, each under its name. The docstring of an invariant is its paragraph.

Those that concern the audit trail are in `trail_invariants`.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from tests.simulation.whole.backend import Call
from tests.simulation.whole.clients import Seen
from tests.simulation.whole.plan import WRITES
from tests.simulation.whole.replica import DEADLINE_S
from tests.simulation.whole.trail_invariants import (
    Found,
    legal_circuits,
    one_record,
    records_agree,
    retries_within_budget,
    unbroken_chain,
)
from tests.simulation.whole.world import Played, World

GRACE_S = 0.005
DURABLE_S = 0.1  # of a thread that is woken twice, and of the retention's
WORD_S = 0.06  # until a replica has heard of another's write: 50 ms, and the way to the client
MOST_CALLS = 1 + 3 + 1  # of one request: the first, the retries, and one more where a pooled connection was dead
# beginnings of faults that concern Redis, or the time
UNSETTLING = ("redis", "kill", "power", "pause", "cut", "isolated", "slow", "loss", "reset")


class Violation(NamedTuple):
    """The name of an invariant, and what broke it."""

    name: str
    what: str


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
    """What a backend told for one principal goes to this principal only, whole and unchanged."""
    told = {(call.user, call.answer) for call in world.backend.calls}
    for seen in world.clients.seen:
        if seen.told is not None and (seen.act.user, seen.body) not in told:
            yield f"{seen.id} of {seen.act.user} got what nobody told this user: {seen.told['user']}'s"


def within_the_deadline(world: World) -> Found:
    """The head of an answer leaves at most 5 ms after the deadline: the route's, or the client's own shorter one.

    The time runs from the request's last byte, at the sidecar. A stopped process and a slow disk are not the sidecar's.
    A body that is too large to be sent again has the route's deadline only. Where the record must be durable first
    (`blocking`, `strict`), its fsync comes on top.
    """
    if not is_timed(world):
        return
    grace_s = GRACE_S + (0.0 if world.plan.durability == "batch" else DURABLE_S)
    for seen in world.clients.seen:
        own_s = DEADLINE_S if seen.act.own_ms is None or seen.act.large else seen.act.own_ms / 1000
        if seen.ended == "answered" and seen.head_s > min(own_s, DEADLINE_S) + grace_s:
            yield f"{seen.id} was answered after {seen.head_s * 1000:.1f} ms"


def is_timed(world: World) -> bool:
    """Tell whether no process is stopped, and no record waits for a disk."""
    return not any(fault.kind in ("pause", "slow disk", "fsync", "full") for fault in world.plan.faults)


def read_your_writes(world: World) -> Found:
    """A read that is asked for after the answer of a write sees it.

    Through the writer's own process: always. Through another: never from a cached response, and no response at all that
    is asked for 60 ms later, as long as nothing happens to Redis or to the time, and Redis answers in time.
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
    """Tell whether nothing happens to Redis, to the way there, to a replica, or to the time.

    Without a fault too, the first question over a slow link may take longer than `store.timeout`: its request goes on
    without Redis.
    """
    trouble = any(fault.kind.startswith(UNSETTLING) for fault in world.plan.faults)
    return not trouble and not any(replica.store_errors for replica in world.replicas)


def created_once(world: World) -> Found:
    """A create with a key takes effect once, where the backend honours keys or the store remembers them.

    The store remembers a client's key while nothing happens to Redis, to the way there, to a process or to the time,
    and Redis answers in time: through whichever replica the client repeats itself, also if it left before. Where the
    backend does not honour keys, an attempt that failed may have taken effect: then the key is free again.
    """
    made = Counter((call.user, call.about, call.key) for call in world.backend.created if call.key)
    failed = {call.key for call in world.backend.calls if call.behaviour.kind not in ("ok", "stream", "close", "large")}
    for (user, about, key), times in made.items():
        if times > 1 and (world.plan.honours or (is_calm(world) and key not in failed)):
            yield f"{key} of {user} created {about} {times} times"


def one_sender(world: World) -> Found:
    """Two replicas never send a create for the same user and report at the same time, with a shared store.

    This holds while nothing happens to Redis, to the way there, to a process or to the time, and Redis answers in time.
    A replica whose response was too large to be stored may repeat its key, where the backend honours keys. What a load
    creates that found no session joins nothing.
    """
    asked = {seen.id for seen in world.clients.seen if seen.act.kind == "create"}
    creates = [call for call in world.backend.calls if call.method == "POST" and call.id in asked]
    for at, later in enumerate(creates) if is_calm(world) else ():
        for call in creates[:at]:
            same = (call.user, call.about) == (later.user, later.about)
            again = call.key != later.key and (_is_repeated(call, creates) or _is_repeated(later, creates))
            if same and call.by != later.by and later.at < call.until and not again:
                yield f"{later.by} sent {later.id} while {call.by} waited for {call.id}"


def _is_repeated(call: Call, creates: list[Call]) -> bool:
    """Tell whether another process sent the key before."""
    return any(other.key == call.key and other.by != call.by and other.at < call.at for other in creates)


def written_once(world: World) -> Found:
    """A write without a key takes effect at most once, whatever fails: nothing says that it is safe to repeat."""
    for call in world.backend.calls:
        if call.method == "PATCH" or call.target == "/api/touch":
            times = sum(other.effects for other in world.backend.calls if other.id == call.id)
            if times > 1:
                yield f"{call.id} was done {times} times"


def calls_within_schedule(world: World) -> Found:
    """The backend gets no more calls for a request than its schedule of attempts has, and one for a dead connection.

    A load that creates the missing session may have a second schedule, to load it.
    """
    calls = Counter((call.id, call.method) for call in world.backend.calls)
    most = MOST_CALLS * (2 if world.plan.recovers else 1)
    for (id_, method), count in calls.items():
        if count > most:
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


INVARIANTS: tuple[Callable[[World], Found], ...] = (
    one_answer, no_strangers_bytes, within_the_deadline, read_your_writes, created_once, one_sender, written_once,
    calls_within_schedule, retries_within_budget, nothing_left, no_bug, one_record, records_agree, unbroken_chain,
    legal_circuits,
)  # fmt: skip


def violations(run: Played) -> list[Violation]:
    """Return what a run has broken."""
    if run.error is not None:
        return [Violation("the_run_ends", f"{type(run.error).__name__}: {run.error}")]
    return [Violation(check.__name__, what) for check in INVARIANTS for what in check(run.world)]
