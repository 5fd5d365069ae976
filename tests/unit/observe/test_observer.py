"""Every finished exchange is observed before its record: restorations, missed targets, exemplars."""

import logging
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from structlog.testing import capture_logs

from proxy.exchange.state import Exchange
from proxy.http.fields import Fields
from proxy.http.message import Framing, Response
from proxy.observe.failure_log import FailureLog
from proxy.observe.logging import Throttle
from proxy.observe.metrics import Metrics, encode
from proxy.observe.observer import Observer
from proxy.observe.target_log import TargetLog
from proxy.policy.latency_target import Target
from proxy.policy.restoration import RestorationState
from proxy.policy.routing import Coalesce
from proxy.transport.broadcast import Broadcast
from tests.simulation.scripted import Play, Step, answers, fails
from tests.simulation.virtual import WALL, simulated
from tests.simulation.world import HISTORY, LOAD, Visitor, World

STATUS = replace(
    LOAD, operation="status", template="/api/status/{report_id}", restoration="status", coalesce=Coalesce.OFF,
    target=Target(0.2, 0.5, 1.0),
)  # fmt: skip
ROUTES = (STATUS, replace(HISTORY, restoration="history", target=Target(0.5, 1.0, 2.0)), LOAD)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Watched(World):
    """A world whose ledger has an observer before it."""

    def __init__(self, script: list[Step] | Play) -> None:
        super().__init__(script, ROUTES)
        self.metrics = Metrics()
        targets = TargetLog(Throttle(10.0, self.clock.now))
        failures = FailureLog(Throttle(10.0, self.clock.now))
        self.observer = Observer(self.ledger, self.metrics, targets, failures)
        self.ports = replace(self.ports, ledger=self.observer)

    async def restore(self, report: str = "r1", **fields: str) -> Exchange:
        """Ask for the status, then for the history; return the history's exchange."""
        await self.status(report, **fields).finish()
        return (await self.history(report, **fields).finish()).exchange

    def status(self, report: str = "r1", **fields: str) -> Visitor:
        """Ask for the status."""
        return self.visit("GET", f"/api/status/{report}", b"", **fields)

    def outcomes(self) -> dict[str, int]:
        """Return the restorations counted, by outcome."""
        return {str(key[0]): count for key, count in self.metrics.restorations.counts.items()}


@simulated
async def test_status_then_history_is_one_restoration() -> None:
    """Its state stands on both exchanges, its time runs over both, and it is counted once."""
    world = Watched([answers(after_s=0.2), answers(body=b'{"messages": [1]}', after_s=0.3)])
    history = await world.restore()
    first = world.ledger.records[0]
    assert first.restoration is not None
    assert first.restoration.state is RestorationState.RESTORING
    assert history.restoration is not None
    assert (history.restoration.state, round(history.restoration.seconds, 3)) == (RestorationState.RESTORED, 0.5)
    assert world.outcomes() == {"restored": 1}
    assert world.metrics.restoration_seconds.series[""].total_s == pytest.approx(0.5)
    assert world.metrics.targets.counts["restoration", "ideal"] == 1


@simulated
async def test_a_fallback_is_an_error_and_an_empty_list_is_not() -> None:
    """The page saw `messages: []` both times; only one of the users has no messages."""
    world = Watched([answers(), fails(), fails(), fails(), fails(), answers(), answers(body=b'{"messages": []}')])
    assert (await world.restore("r1")).status == 200
    assert (await world.restore("r2")).status == 200
    assert world.outcomes() == {"restored_error": 1, "restored_empty": 1}


@simulated
async def test_users_who_went_alone_are_still_told_apart() -> None:
    """The status here never needs to know who asks; another user's status begins nobody else's restoration."""
    world = Watched([answers()])
    await world.visit("GET", "/api/status/r1", user="bob").finish()
    ada = (await world.history("r1").finish()).exchange
    assert ada.restoration is None
    assert [one.state for one in world.observer.restorations.of("r1", world.clock.now())] == [
        RestorationState.RESTORING
    ]


@simulated
async def test_a_client_that_leaves_counts_nothing() -> None:
    """It says nothing about the session."""
    world = Watched([answers(), answers(after_s=1.0)])
    await world.status().finish()
    visitor = world.history()
    world.later(100, visitor.leave)
    await visitor.finish()
    assert world.outcomes() == {}


@simulated
async def test_a_bucket_carries_the_trace_of_its_newest_request() -> None:
    """Only requests that have a trace stand as exemplars, with their duration and the instant they ended."""
    world = Watched([answers(after_s=0.3)])
    await world.get("r1").finish()
    await world.get("r2", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01").finish()
    world.metrics.finished("load", "GET", 200, "answered", 0.3, "")  # the scripted world has a meter of its own
    body, _ = encode(world.metrics.collect(), "application/openmetrics-text")
    families = list(parse_openmetrics(body.decode()))  # type: ignore[no-untyped-call]  # the library did not annotate it
    (exemplar,) = [sample.exemplar for family in families for sample in family.samples if sample.exemplar]
    assert exemplar.labels == {"trace_id": TRACE}
    assert exemplar.value == pytest.approx(0.3)
    assert float(exemplar.timestamp) == pytest.approx(WALL + 0.6)
    assert TRACE.encode() not in encode(world.metrics.collect(), "text/plain")[0]


@pytest.mark.parametrize(
    ("seconds", "severity"),
    [(0.1, "debug"), (0.4, "info"), (0.9, "warning"), (1.5, "error")],
)
def test_targets_are_logged_by_how_they_were_kept(
    seconds: float, severity: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Ideal at debug, acceptable at info, slow at warning, critical at error, as the seed document says."""

    @simulated
    async def play() -> None:
        world = Watched([answers(after_s=seconds)])
        await world.status(X_Correlation_ID="mine").finish()

    with caplog.at_level(logging.DEBUG, "backstay.targets"), capture_logs() as said:
        play()
    (event,) = said
    assert (event["log_level"], event["correlation_id"], event["operation"]) == (severity, "mine", "status")


def test_what_the_log_does_not_show_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    """At the usual level nothing is made of a request that met its target."""
    with caplog.at_level(logging.WARNING, "backstay.targets"), capture_logs() as said:
        log = TargetLog(Throttle(10.0, lambda: 0.0))
        for seconds in (0.1, 0.7, 1.5):
            log.hold("history", Target(0.5, 1.0, 2.0), seconds, "id")
    assert [event["reached"] for event in said] == ["slow"]


def test_an_outage_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand slow requests in ten seconds are two lines, and the second says how many it stands for."""
    now = 0.0
    log = TargetLog(Throttle(10.0, lambda: now))
    with caplog.at_level(logging.INFO, "backstay.targets"), capture_logs() as said:
        for hundredth in range(1001):
            now = hundredth / 100
            log.hold("history", Target(0.5, 1.0, 2.0), 3.0, "id")
    assert [event.get("suppressed", 0) for event in said] == [0, 999]


def streaming(content_type: bytes, status: int = 200) -> tuple[Watched, Broadcast]:
    """Return a world whose first response has its head after 900 ms, and a body that ends when the relay does."""
    relay = Broadcast(lambda paused: None, lambda: None)
    response = Response(status, b"", Fields(((b"Content-Type", content_type),)), relay, Framing.CHUNKED)
    world = Watched([Step(response, 0.9)])
    world.ports = replace(world.ports, meter=world.metrics)
    return world, relay


async def ended(world: Watched, relay: Broadcast) -> Exchange:
    """Let a request of the status stream for a minute; return its exchange."""
    visitor = world.status(traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    await world.until_ms(60_900)
    relay.finish()
    return (await visitor.finish()).exchange


def timed(world: Watched) -> tuple[float, float]:
    """Return the seconds that requests and streams were observed to take."""
    families = {family.name: family for family in world.metrics.collect()}
    names = ("backstay_request_duration_seconds", "backstay_stream_seconds")
    sums = [sum(s.value for s in families[name].samples if s.name == f"{name}_sum") for name in names]
    return round(sums[0], 3), round(sums[1], 3)


@simulated
async def test_a_streamed_answer_is_timed_to_its_head() -> None:
    """A download of a minute that began after 900 ms meets the limit of 1 s; its stream time is counted separately."""
    world, relay = streaming(b"text/csv")
    with capture_logs() as logs:
        exchange = await ended(world, relay)
    assert (exchange.level, round(exchange.wait_s, 3), round(exchange.duration_s, 3)) == ("slow", 0.9, 60.9)
    assert timed(world) == (0.9, 60.0)
    assert [log["took_ms"] for log in logs if log["event"] == "target"] == [900.0]
    assert exchange.restoration is not None
    assert round(exchange.restoration.seconds, 3) == 0.9


@pytest.mark.parametrize(
    ("status", "content_type"), [(200, b"text/event-stream"), (200, b"Text/Event-Stream; charset=utf-8"), (101, b"")]
)
def test_a_tunnel_and_an_event_stream_are_never_slow(status: int, content_type: bytes) -> None:
    """A late head and a long body change nothing: no target, no latency, no exemplar, no line in the log."""

    @simulated
    async def play() -> None:
        world, relay = streaming(content_type, status)
        with capture_logs() as logs:
            exchange = await ended(world, relay)
        assert (exchange.level, exchange.endless) == ("", True)
        assert timed(world) == (0.0, 60.0)
        assert not world.metrics.targets.counts
        assert not [log for log in logs if log["event"] == "target"]
        assert TRACE.encode() not in encode(world.metrics.collect(), "application/openmetrics-text")[0]

    play()
