"""One loop iteration: how many requests it starts, and when responses are written."""

from collections.abc import Callable

from proxy.server.admission import AT_ONCE, LEAST, AdmissionQueue
from proxy.transport.write_batch import WriteBatch
from tests.wire.kit import turn

TAKEN_AT_ONCE = AT_ONCE // LEAST  # requests, short ones
SHORT = 100  # bytes


class Guest:
    """A connection that notes its turns."""

    def __init__(self, note: Callable[[str], None], number: int, address: str = "10.0.0.1", size: int = SHORT) -> None:
        self._note = note
        self._number = number
        self.address = address
        self.waiting = size

    def go_on(self) -> None:
        self._note(f"{self._number} goes on")

    def flush(self) -> None:
        self._note(f"{self._number} writes")


async def test_a_turn_of_the_loop_begins_so_many_requests_and_the_next_the_others_in_their_order() -> None:
    """Two and a half turns' worth come at once."""
    turns, count = AdmissionQueue(), TAKEN_AT_ONCE * 5 // 2
    said: list[str] = []
    taken = [turns.take(Guest(said.append, number), SHORT) for number in range(count)]
    assert taken == [True] * TAKEN_AT_ONCE + [False] * (count - TAKEN_AT_ONCE)
    seen = []
    for _ in range(3):
        await turn()
        seen.append(len(said))
    assert seen == [TAKEN_AT_ONCE, count - TAKEN_AT_ONCE, count - TAKEN_AT_ONCE]
    assert said == [f"{number} goes on" for number in range(TAKEN_AT_ONCE, count)]


async def test_who_waits_goes_before_who_comes() -> None:
    """Else a busy connection would keep a patient one waiting for ever."""
    turns = AdmissionQueue()
    said: list[str] = []
    for number in range(2 * TAKEN_AT_ONCE):
        turns.take(Guest(said.append, number), SHORT)
    await turn()
    assert not turns.take(Guest(said.append, 1_000), SHORT), "this turn belongs to those who waited"
    await turn()
    assert said[-1] == "1000 goes on"
    await turn()
    assert turns.take(Guest(said.append, 1_001), SHORT), "and then there is room again"


async def test_a_turn_is_bounded_in_bytes() -> None:
    """Long requests take longer to begin: a turn begins no more of them than fit, and at least one."""
    turns = AdmissionQueue()
    said: list[str] = []
    long = [Guest(said.append, number, size=AT_ONCE) for number in range(4)]
    assert [turns.take(guest, AT_ONCE) for guest in long] == [True, False, False, False]
    assert turns.waiting == 3
    for begun in (1, 2, 3):
        await turn()
        assert len(said) == begun
    assert turns.waiting == 0


async def test_who_sends_many_does_not_delay_another_address() -> None:
    """Before, a request stood behind all that somebody else had sent at once."""
    turns = AdmissionQueue()
    said: list[str] = []
    for number in range(10):
        turns.take(Guest(said.append, number, "203.0.113.9", AT_ONCE), AT_ONCE)
    assert not turns.take(Guest(said.append, 100, "198.51.100.1"), SHORT)
    for _ in range(2):
        await turn()
    assert said == ["1 goes on", "100 goes on", "2 goes on"]


async def test_answers_are_written_at_the_end_of_the_turn_in_their_order() -> None:
    """Whoever is woken by the first is awake for the others."""
    outgoing = WriteBatch()
    said: list[str] = []
    for number in range(3):
        outgoing.add(Guest(said.append, number))
    assert said == []
    await turn()
    assert said == ["0 writes", "1 writes", "2 writes"]
