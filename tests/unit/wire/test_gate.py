"""The gate's turns: how many requests begin in one turn of the loop, and when answers are written."""

from collections.abc import Callable
from typing import cast

import pytest

from proxy.clock import SystemClock
from proxy.exchange import Exchange
from proxy.message import Request
from proxy.parts import Client
from proxy.wire.forwarding import TrustedProxies
from proxy.wire.gate import TAKEN_AT_ONCE, Gate, GateRules
from proxy.wire.heads import HeadLimits
from tests.wire.kit import turn


class Guest:
    """A connection that notes its turns."""

    def __init__(self, note: Callable[[str], None], number: int) -> None:
        self._note = note
        self._number = number

    def go_on(self) -> None:
        self._note(f"{self._number} goes on")

    def flush(self) -> None:
        self._note(f"{self._number} writes")

    def sweep(self, now: float) -> None:
        raise AssertionError

    def abort(self) -> None:
        raise AssertionError


def nobody(request: Request, client: Client) -> Exchange:
    raise AssertionError


@pytest.fixture
def gate() -> Gate:
    return Gate(GateRules(), HeadLimits(), TrustedProxies(()), nobody, lambda *_: None, SystemClock())


async def test_a_turn_of_the_loop_begins_so_many_requests_and_the_next_the_others_in_their_order(gate: Gate) -> None:
    """Two and a half turns' worth come at once."""
    count = TAKEN_AT_ONCE * 5 // 2
    said: list[str] = []
    taken = [gate.take(Guest(said.append, number)) for number in range(count)]
    assert taken == [True] * TAKEN_AT_ONCE + [False] * (count - TAKEN_AT_ONCE)
    seen = []
    for _ in range(3):
        await turn()
        seen.append(len(said))
    assert seen == [TAKEN_AT_ONCE, count - TAKEN_AT_ONCE, count - TAKEN_AT_ONCE]
    assert said == [f"{number} goes on" for number in range(TAKEN_AT_ONCE, count)]


async def test_who_waits_goes_before_who_comes(gate: Gate) -> None:
    """Else a busy connection would keep a patient one waiting for ever."""
    said: list[str] = []
    for number in range(2 * TAKEN_AT_ONCE):
        gate.take(Guest(said.append, number))
    await turn()
    assert not gate.take(Guest(said.append, 1_000)), "this turn belongs to those who waited"
    await turn()
    assert said[-1] == "1000 goes on"
    await turn()
    assert gate.take(cast(Guest, None)), "and then there is room again"


async def test_answers_are_written_at_the_end_of_the_turn_in_their_order(gate: Gate) -> None:
    """Whoever is woken by the first is awake for the others."""
    said: list[str] = []
    for number in range(3):
        gate.write_soon(Guest(said.append, number))
    assert said == []
    await turn()
    assert said == ["0 writes", "1 writes", "2 writes"]
