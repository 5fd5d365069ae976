"""No 5xx of the sidecar's own ends an EventSource for ever: its connection is closed, whatever the failure."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from proxy.http.problems import Reason
from proxy.policy.recovery_plan import FallbackDocument
from tests.settings import recovery_rules
from tests.simulation.scripted import Step, answers, fails, hangs, refuses
from tests.simulation.virtual import simulated
from tests.simulation.world import LOAD, Visitor, World

EVENTS = "text/event-stream"
EITHER = f"{EVENTS}, application/problem+json"
FAILURES = {
    "refused": (refuses(), 502),
    "killed": (fails(Reason.CONNECTION_TERMINATED, sent=True), 502),
    "blackholed": (fails(Reason.CONNECTION_TIMEOUT, sent=False), 504),
    "not HTTP": (fails(Reason.PROTOCOL_ERROR, sent=True), 502),
    "full": (fails(Reason.CONNECTION_LIMIT, sent=False), 503),
    "silent": (hangs(), 504),
}


class FullDisk:
    """A trail that has no record in time."""

    async def intent(self, exchange: object, within_s: float) -> bool:
        return False

    def when_durable(self, exchange: object, on_durable: Callable[[bool], None]) -> None:
        on_durable(False)

    async def opening(self, exchange: object) -> bool:
        return False


def forever(step: Step) -> list[Step]:
    return [step] * 20


def closed(visitor: Visitor) -> bool:
    """Tell whether the connection was closed, and nothing written."""
    return visitor.client.hung_up and not visitor.client.answers


@pytest.mark.parametrize("failure", FAILURES)
@simulated
async def test_a_failure_closes_the_connection(failure: str) -> None:
    """The record has the status that any other client gets, and no byte of a body."""
    step, status = FAILURES[failure]
    w = World(forever(step))
    events, other = await w.get(Accept=EVENTS).finish(), await w.get(Accept=EITHER).finish()
    assert closed(events)
    assert (other.status, other.client.hung_up) == (status, False)
    (record, same) = w.ledger.records
    assert (record.status, record.ending, record.bytes_out) == (same.status, same.ending, 0)
    assert w.at_rest()


@simulated
async def test_an_open_circuit_closes_the_connection() -> None:
    """The backend is spared as before, and the EventSource tries again."""
    w = World(forever(refuses()))
    while w.transitions != ["OPEN"]:
        await w.patch().finish()
    assert closed(events := await w.get(Accept=EVENTS).finish())
    assert events.exchange.status == 503


@simulated
async def test_a_client_with_a_deadline_of_its_own_gets_its_504() -> None:
    """A browser's EventSource cannot send one."""
    w = World(forever(hangs()))
    hasty = await w.get(Accept=EVENTS, X_Request_Deadline_Ms="100").finish()
    assert (hasty.status, hasty.client.hung_up) == (504, False)


@simulated
async def test_a_withheld_answer_closes_the_connection() -> None:
    """The answer has no record on disk in time; it is counted as withheld."""
    w = World([answers(200, b"data: 1\n\n")])
    w.ports = replace(w.ports, durability_gate=FullDisk())
    assert closed(await w.get(Accept=EVENTS).finish())
    assert w.meter.counts["withheld",] == 1


@simulated
async def test_a_fallback_document_is_for_others() -> None:
    """JSON ends an EventSource as a 5xx does."""
    route = replace(LOAD, recovery=recovery_rules(fallback=FallbackDocument(200, {"degraded": True})))
    w = World(forever(refuses()), routes=(route,))
    assert closed(await w.get(Accept=EVENTS).finish())
    assert (await w.get(Accept=EITHER).finish()).status == 200


@pytest.mark.parametrize("status", [204, 401, 500, 503])
@simulated
async def test_the_backends_own_status_passes(status: int) -> None:
    """It may mean to end the stream: the browser is told, as without the sidecar."""
    w = World(forever(answers(status)))
    events = await w.get(Accept=EVENTS).finish()
    assert (events.status, events.client.hung_up) == (status, False)
