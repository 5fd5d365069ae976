"""A response whose record is not durable in time is withheld: client, record and figures agree."""

from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from tests.simulation.scripted import Step, answers, fails
from tests.simulation.virtual import simulated
from tests.simulation.world import CREATE, World

OnDurable = Callable[[bool], None]


class FullDisk:
    """A trail that never has anything in time; `intents`: an intent is still there, and only the rest is not."""

    def __init__(self, *, intents: bool) -> None:
        self._intents = intents

    async def intent(self, exchange: object, within_s: float) -> bool:
        return self._intents

    def when_durable(self, exchange: object, on_durable: OnDurable) -> None:
        on_durable(False)

    async def opening(self, exchange: object) -> bool:
        return False


def world(step: Step, *, intents: bool) -> World:
    """Return a world whose disk is full."""
    made = World((step,), routes=(CREATE,))
    made.ports = replace(made.ports, durability_gate=FullDisk(intents=intents))
    return made


@simulated
async def test_what_was_refused_before_the_backend_says_that_nothing_was_done() -> None:
    """Before, the client was told that it may have been done, and the record said the contrary."""
    w = world(answers(201), intents=False)
    refused = await w.create().finish()
    said, (record,) = orjson.loads(refused.client.body), w.ledger.records
    assert (refused.status, len(w.upstream.calls)) == (503, 0)
    assert "the backend was not called, and nothing was done" in said["detail"]
    assert record.problem is not None
    assert (record.status, record.problem.detail, record.bytes_out) == (503, said["detail"], len(refused.client.body))
    assert refused.client.fields.get(b"retry-after") == b"1"
    assert w.meter.counts["withheld",] == 0


@simulated
async def test_a_withheld_answer_is_counted() -> None:
    """Its record and `requests_total` keep the answer that was withheld; a counter of its own has the 503."""
    w = world(answers(201), intents=True)
    withheld = await w.create().finish()
    assert "may have been executed" in orjson.loads(withheld.client.body)["detail"]
    assert [record.status for record in w.ledger.records] == [201]
    assert w.meter.counts["withheld",] == 1


@pytest.mark.parametrize(("sent", "says"), [(False, "nothing was done"), (True, "may have been executed")])
@simulated
async def test_a_failure_that_is_withheld_says_whether_the_backend_was_asked(sent: bool, says: str) -> None:
    """Where nothing reached it, the client may ask again at ease."""
    w = world(fails(sent=sent), intents=True)
    withheld = await w.create().finish()
    assert says in orjson.loads(withheld.client.body)["detail"]
