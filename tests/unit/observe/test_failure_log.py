"""Failures in the log: operation, error, address, correlation id, and the number of suppressed lines."""

from collections.abc import Mapping, Sequence
from typing import Any

from structlog.testing import capture_logs

from proxy.http.problems import Reason
from tests.simulation.scripted import answers, fails, refuses
from tests.simulation.virtual import simulated
from tests.unit.observe.test_observer import Watched, streaming

Lines = Sequence[Mapping[str, Any]]


def failures(logs: Lines) -> list[Mapping[str, Any]]:
    """Return the lines about failures."""
    return [log for log in logs if log["event"] == "failure"]


@simulated
async def test_a_failure_names_all_that_is_needed_to_find_it() -> None:
    """One line at warning for a request that failed in every attempt."""
    world = Watched([refuses()])
    with capture_logs() as logs:
        await world.get("r1", X_Correlation_ID="mine").finish()
    assert failures(logs)[0] == {
        "event": "failure",
        "log_level": "warning",
        "operation": "load",
        "error": "connection_refused",
        "address": "10.0.0.7:8000",
        "upstream": "sessions",
        "status": 502,
        "outcome": "connection_refused",
        "correlation_id": "mine",
    }
    assert len(failures(logs)) == 1


@simulated
async def test_a_kind_of_failure_is_told_once_in_ten_seconds() -> None:
    """Each error of each operation has a line. The next line has the number of suppressed ones."""
    world = Watched(lambda request, number: fails(Reason.PROTOCOL_ERROR) if b"r2" in request.target else answers(500))
    with capture_logs() as logs:
        for _ in range(3):
            await world.get("r1").finish()
        await world.get("r2").finish()
        await world.status("r1").finish()
    kinds = [(log["operation"], log["error"]) for log in failures(logs)]
    assert kinds == [("load", "500"), ("load", "http_protocol_error"), ("status", "500")]
    await world.clock.sleep(10.0)
    with capture_logs() as logs:
        await world.get("r1").finish()
    assert failures(logs)[0]["suppressed"] >= 2


@simulated
async def test_what_a_retry_made_good_is_told_too() -> None:
    """The client did not notice, but the backend failed."""
    world = Watched([fails(), answers()])
    with capture_logs() as logs:
        await world.get("r1").finish()
    assert [(log["error"], log["status"]) for log in failures(logs)] == [("connection_terminated", 200)]


@simulated
async def test_what_an_open_circuit_refuses_is_told() -> None:
    """The backend's own log has no line about a refused request."""
    world = Watched([fails()])
    for number in range(5):
        await world.get(f"r{number}").finish()
    assert (world.transitions, world.breaker.cause) == (["OPEN"], "connection_terminated at 10.0.0.7:8000")
    with capture_logs() as logs:
        await world.get("late").finish()
    assert [log["error"] for log in failures(logs)] == ["destination_unavailable"]


@simulated
async def test_a_broken_stream_is_told() -> None:
    """Its attempt succeeded, and its client was cut off."""
    world, relay = streaming(b"text/csv")
    visitor = world.status()
    await world.until_ms(2_000)
    with capture_logs() as logs:
        relay.break_off("gone")
        await visitor.finish()
    assert [(log["error"], log["outcome"]) for log in failures(logs)] == [("truncated", "truncated")]


@simulated
async def test_what_did_not_fail_is_not_told() -> None:
    """A success, a 404 and a client that left are no failures."""
    world = Watched([answers(), answers(404), answers(after_s=1.0)])
    with capture_logs() as logs:
        await world.get("r1").finish()
        await world.get("r2").finish()
        visitor = world.get("r3")
        world.later(100, visitor.leave)
        await visitor.finish()
    assert failures(logs) == []
