"""Count what happened in a run, and what each invariant had to look at: one that looks at nothing proves nothing."""

from collections import Counter

from tests.simulation.whole.invariants import is_calm, is_timed
from tests.simulation.whole.plan import WRITES
from tests.simulation.whole.trail_invariants import records
from tests.simulation.whole.world import World


def counts(world: World) -> Counter[str]:
    """Return the counts of a run, by name."""
    seen = world.clients.seen
    found = Counter({"runs": 1, "requests": len(seen), "calls of the backend": len(world.backend.calls)})
    found.update(f"requests {each.ended}" for each in seen)
    found["cached responses used"] = sum(each.cached for each in seen)
    found["replayed responses"] = sum(
        any(name == b"idempotent-replayed" for name, _ in each.fields) for each in seen
    )  # fmt: skip
    found.update(f"fault: {fault.kind}" for fault in world.plan.faults)
    found.update({f"checked by {name}": count for name, count in _checked(world).items()})
    return found


def _checked(world: World) -> dict[str, int]:
    """Return how many things each invariant has checked."""
    seen, calls, calm = world.clients.seen, world.backend.calls, is_calm(world)
    answered = [each for each in seen if each.ended == "answered"]
    told = [each for each in answered if each.told is not None]
    trail = [record for replica in world.replicas for record in records(replica)]
    of_requests = [record for record in trail if "note" not in record and "method" in record]
    return {
        "one_answer": len(seen),
        "no_strangers_bytes": len(told),
        "within_the_deadline": len(answered) if is_timed(world) else 0,
        "read_your_writes": sum(
            (read.by is write.by or calm) and read.asked >= write.answered
            for write in told if write.act.kind in WRITES
            for read in told if read.act.kind not in WRITES
        ),
        "created_once": len(world.backend.created),
        "one_sender": sum(call.method == "POST" and call.about is not None for call in calls) if calm else 0,
        "written_once": sum(call.method == "PATCH" or call.target == "/api/touch" for call in calls),
        "calls_within_schedule": len(calls),
        "retries_within_budget": sum(len(record["attempts"]) for record in of_requests),
        "nothing_left": len(world.replicas),
        "no_bug": len(world.said),
        "one_record": len(answered),
        "records_agree": len(of_requests),
        "unbroken_chain": len(trail),
        "legal_circuits": sum(record.get("operation") == "circuit" for record in trail),
    }  # fmt: skip
