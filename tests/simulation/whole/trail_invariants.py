"""What must hold in the audit trails of every run, each under its name. A docstring is the invariant's paragraph."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from proxy.audit.checkpoint import read
from proxy.audit.files import NoTrailError, lines, trails
from proxy.audit.verify import Condition, Proof, verify
from proxy.policy.retry import CAUSES
from tests.simulation.whole.clients import Seen
from tests.simulation.whole.plan import WRITES
from tests.simulation.whole.replica import DEADLINE_S, Replica
from tests.simulation.whole.world import World

BATCH_S = {False: 1.0, True: 2.5}  # seconds before a kill, or a power failure, whose records `batch` may lose
MOVES = {"closed": ("open",), "open": ("half_open",), "half_open": ("open", "closed")}
FLOOR, SHARE = 10.0, 0.2  # of the retry budget: retries at once, and for each request
MOST_ATTEMPTS = 1 + 3  # of one schedule
LONGEST_S = 6.0  # in which requests are under way

Found = Iterator[str]


def records(replica: Replica) -> list[dict[str, Any]]:
    """Return every record of a replica's trail."""
    try:
        (trail,) = trails(replica.disk.folder / "audit.jsonl")
    except NoTrailError:
        return []
    found = (_record_of(line.data) for line in lines(trail.files))
    return [record for record in found if record is not None]


def _record_of(line: bytes) -> dict[str, Any] | None:
    """Return a line as a record; None if it is none, which `unbroken_chain` reports."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and line.endswith(b"\n") else None


def one_record(world: World) -> Found:
    """Every request has one record in the trail of the replica that took it, or is counted in a gap.

    A kill loses what was not written, in `batch` at most the last moments. A write whose client's own deadline passed
    is recorded when its outcome is known, at the latest at the route's deadline: until then a kill loses its record in
    `batch`. What a disk in trouble refuses until the process ends is lost too; in `blocking` and `strict` the clients
    got 503 for it. Of a streamed response the note that it opens is durable there, its record as in `batch`. Nothing is
    ever recorded twice.
    """
    for replica in world.replicas:
        trail = records(replica)
        ids = Counter(record.get("correlation_id") for record in trail if "note" not in record)
        opened = {str(record["correlation_id"]) for record in trail if record.get("note") == "opening"}
        for id_, count in ids.items():
            if count > 1 and id_:
                yield f"{replica.name} has {count} records of {id_}"
        gaps = sum(int(record.get("gap", 0)) for record in trail)
        missing = [
            seen for seen in world.clients.seen
            if seen.ended == "answered" and seen.by in replica.processes and not ids[seen.id]
            and not _may_be_lost(world, replica, seen, opened)
        ]  # fmt: skip
        if len(missing) > gaps:
            yield f"{replica.name} has no record of {', '.join(seen.id for seen in missing)}, and gaps of {gaps}"


def _may_be_lost(world: World, replica: Replica, seen: Seen, opened: set[str]) -> bool:
    trouble = any(fault.kind in ("full", "slow disk", "fsync", "pause") for fault in world.plan.faults)
    ends = [*(at for at, _ in replica.killed), *replica.stopped]
    if trouble and any(at > seen.answered for at in ends) and (world.plan.durability == "batch" or seen.status == 503):
        return True
    if world.plan.durability != "batch" and seen.id not in opened:
        return False
    within = {power: 10.0 if trouble else limit_s for power, limit_s in BATCH_S.items()}
    until = seen.written
    if seen.act.own_ms is not None and seen.status == 504 and seen.act.kind in WRITES:
        until = max(until, seen.asked + DEADLINE_S)
    return any(at - within[power] < until and seen.written < at + 1.0 for at, power in replica.killed)


def records_agree(world: World) -> Found:
    """A record says what its client got: the same status, or a note says that the response was withheld.

    This holds for each client that got an answer. One that left may have got more than it waited for.
    """
    for replica in world.replicas:
        trail = records(replica)
        withheld = {record["id"] for record in trail if record.get("note") == "withheld"}
        said = {record["correlation_id"]: record for record in trail if "note" not in record and "method" in record}
        for seen in world.clients.seen:
            record = said.get(seen.id)
            if record is None or seen.ended != "answered" or seen.by not in replica.processes:
                continue
            if record["status"] != seen.status and record["id"] not in withheld:
                yield f"{seen.id} got {seen.status}, and its record says {record['status']}"


def retries_within_budget(world: World) -> Found:
    """A process retries at most 10 attempts at once, 1 a second, and 1 for 5 requests, whatever the backend does.

    No schedule has more than four attempts. A request that recovers has a second schedule, or a third.
    """
    for replica in world.replicas:
        by_process: dict[str, list[dict[str, Any]]] = {}
        for record in records(replica):
            if "note" not in record and record.get("attempts"):
                by_process.setdefault(record["id"].partition("-")[0], []).append(record)
        for process, found in by_process.items():
            retries = sum(attempt["why"] in CAUSES for record in found for attempt in record["attempts"])
            most = MOST_ATTEMPTS * (3 if world.plan.recovers or world.plan.unique else 1)
            for record in found:
                if len(record["attempts"]) > most:
                    yield f"{record['correlation_id']} had {len(record['attempts'])} attempts"
            if retries > FLOOR + SHARE * len(found) + LONGEST_S:
                yield f"{process} of {replica.name} made {retries} retries for {len(found)} requests"


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
