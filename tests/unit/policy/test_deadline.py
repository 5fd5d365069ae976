"""One deadline, and the caller's influence on it."""

import pytest

from proxy.policy.deadline import callers_budget, remaining


def test_the_rest_shrinks_and_never_goes_below_nothing() -> None:
    """What remains is the difference to now, 0 once it is over."""
    assert [remaining(10.0, now) for now in (8.0, 9.5, 10.0, 11.0)] == [2.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1500", 1.5),
        (b"0", 0.0),
        (b"999999999", 999_999.999),
        (b"1000000000", 1_000_000.0),
        (b"9" * 5_000, 2_147_483.648),
        (b"0" * 5_000 + b"1500", 1.5),
        (None, None),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b" 1", None),
        (b"1.5", None),
        (b"1_000", None),
        ("１".encode(), None),
    ],
)
def test_a_callers_budget_is_a_whole_number_of_milliseconds(value: bytes | None, seconds: float | None) -> None:
    """The caller's own header is read in milliseconds, and anything odd is as if it were absent."""
    assert callers_budget(value) == seconds
