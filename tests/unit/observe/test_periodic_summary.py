"""The session metrics are logged once a minute."""

from structlog.testing import capture_logs

from proxy.observe.metrics import Metrics
from proxy.observe.periodic_summary import EVERY_S, PeriodicSummary
from proxy.observe.statistics import Statistics


def test_one_line_a_minute_with_every_figure() -> None:
    """Sweeps come four times a second; the first minute passes before anything is said."""
    metrics = Metrics()
    metrics.finished("session-create", "POST", 201, "answered", 0.25, "ideal")
    statistics = Statistics(metrics)
    with capture_logs() as said:
        minutely = PeriodicSummary(statistics)
        for quarter in range(int(EVERY_S * 4 * 2.5)):
            minutely.sweep(1000.0 + quarter / 4)
    assert [event["event"] for event in said] == ["summary", "summary"]
    assert said[0] == {"event": "summary", "log_level": "info"} | statistics.summary()
