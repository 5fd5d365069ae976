"""The seed document's performance targets: a limit itself belongs to the better level."""

import pytest

from proxy.policy.latency_target import Level, Target


@pytest.mark.parametrize(
    ("seconds", "level"),
    [
        (0.0, Level.IDEAL),
        (0.5, Level.IDEAL),
        (0.5001, Level.ACCEPTABLE),
        (1.0, Level.ACCEPTABLE),
        (1.5, Level.SLOW),
        (2.0, Level.SLOW),
        (2.0001, Level.CRITICAL),
        (60.0, Level.CRITICAL),
    ],
)
def test_each_duration_has_its_level(seconds: float, level: Level) -> None:
    """A duration belongs to the first level whose limit it does not pass."""
    assert Target(0.5, 1.0, 2.0).level(seconds) is level
