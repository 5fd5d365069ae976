"""The clock of ages: a step backwards makes nothing younger, a large step forwards expires nothing at once."""

from proxy.store.disk.steady_clock import BELIEVED_S, SteadyClock
from tests.unit.store.disk.kit import SetClock


def test_a_step_backwards_makes_nothing_younger() -> None:
    """It goes on from where it was, with the time that passes."""
    system = SetClock()
    steady = SteadyClock(system)
    assert steady.wall() == 1_000_000.0
    system.wall_at -= 86_400
    system.pass_(5.0)
    assert steady.wall() == 1_000_005.0
    assert steady.high_water == 1_000_005.0


def test_it_goes_on_from_the_highest_time_of_the_process_before() -> None:
    """A clock that was set back while nothing ran."""
    system = SetClock()
    steady = SteadyClock(system)
    steady.go_on_from(1_500_000.0)
    system.pass_(2.0)
    assert steady.wall() == 1_500_002.0


def test_a_small_step_forwards_is_believed() -> None:
    """As after a suspension, or a short time without a process."""
    system = SetClock()
    steady = SteadyClock(system)
    system.wall_at += BELIEVED_S
    assert steady.wall() == steady.high_water == 1_000_000.0 + BELIEVED_S


def test_a_large_step_forwards_ages_and_does_not_expire() -> None:
    """The time is believed for ages at once, and for what ends lifetimes after an hour."""
    system = SetClock()
    steady = SteadyClock(system)
    system.wall_at += 2 * BELIEVED_S
    assert steady.wall() == 1_000_000.0 + 2 * BELIEVED_S
    assert steady.high_water == 1_000_000.0
    system.pass_(BELIEVED_S - 1)
    assert steady.wall() == 1_000_000.0 + 3 * BELIEVED_S - 1
    assert steady.high_water == 1_000_000.0 + BELIEVED_S - 1
    system.pass_(1)
    assert steady.high_water == steady.wall() == 1_000_000.0 + 3 * BELIEVED_S


def test_a_large_step_that_is_taken_back_has_changed_nothing() -> None:
    """It was wrong, and it was corrected within the hour."""
    system = SetClock()
    steady = SteadyClock(system)
    system.wall_at += 10 * BELIEVED_S
    steady.wall()
    system.pass_(60.0)
    system.wall_at -= 10 * BELIEVED_S
    assert steady.wall() == steady.high_water == 1_000_060.0
