"""What waits for the disk, and what is told if it does not answer."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from proxy.audit.durability_gate import DurabilityGate
from proxy.audit.log import AuditLog
from proxy.audit.record import Ledger
from proxy.exchange.state import Exchange
from tests.simulation.virtual import VirtualClock, simulated


class Trail:
    """A ledger and a log: notes have room or not, and records become durable or not."""

    def __init__(self, *, room: bool = True, durable: bool = True) -> None:
        self._room = room
        self._durable = durable
        self.notes: list[str] = []
        self.within_s: list[float | None] = []

    def note(self, exchange: object, note: str, wall: float) -> bool:
        """Take a note if there is room."""
        self.notes.append(note)
        return self._room

    def when_durable(self, on_result: Callable[[bool], None], within_s: float | None = None) -> None:
        """Tell at once."""
        self.within_s.append(within_s)
        on_result(self._durable)


class Asked:
    """An exchange, as far as the gate sees it."""

    def __init__(self, *, unrecorded: bool = False) -> None:
        self.unrecorded = unrecorded


def gate(trail: Trail, *, strict: bool = True) -> DurabilityGate:
    """Return a gate before this trail."""
    return DurabilityGate(cast(Ledger, trail), cast(AuditLog, trail), VirtualClock(), strict=strict)


def asked(**facts: bool) -> Exchange:
    """Return an exchange."""
    return cast(Exchange, cast(Any, Asked(**facts)))


@pytest.mark.parametrize(("room", "durable"), [(True, True), (True, False), (False, True)])
@simulated
async def test_a_write_is_sent_only_with_its_intent_on_disk(room: bool, durable: bool) -> None:
    """In strict durability, within the request's own time; no room for the note is no intent."""
    trail = Trail(room=room, durable=durable)
    assert await gate(trail).intent(asked(), 1.5) is (room and durable)
    assert trail.notes == ["intent"]
    assert trail.within_s == ([1.5] if room else [])


@simulated
async def test_blocking_durability_notes_no_intent() -> None:
    trail = Trail(durable=False)
    assert await gate(trail, strict=False).intent(asked(), 1.5)
    assert trail.notes == []


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("room", "durable"), [(True, True), (True, False), (False, True)])
@simulated
async def test_a_stream_begins_only_with_a_note_on_disk(strict: bool, room: bool, durable: bool) -> None:
    trail = Trail(room=room, durable=durable)
    assert await gate(trail, strict=strict).opening(asked()) is (room and durable)
    assert trail.notes == ["opening"]


@pytest.mark.parametrize(
    ("durable", "unrecorded", "notes"), [(True, False, []), (False, False, ["withheld"]), (False, True, [])]
)
@simulated
async def test_a_withheld_response_is_noted(durable: bool, unrecorded: bool, notes: list[str]) -> None:
    """Unless the response already says that it could not be recorded."""
    trail, told = Trail(durable=durable), list[bool]()
    gate(trail).when_durable(asked(unrecorded=unrecorded), told.append)
    assert (told, trail.notes) == ([durable], notes)
