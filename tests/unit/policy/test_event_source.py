"""Which requests get a closed connection instead of a 5xx."""

import pytest

from proxy.http.fields import Fields
from proxy.http.message import Peer, Request
from proxy.policy.event_source import hangs_up, is_event_source

EVENTS = b"text/event-stream"


def asking(accept: bytes | None, method: str = "GET") -> Request:
    lines = () if accept is None else ((b"Accept", accept),)
    return Request(method, b"/events", Fields(lines), Peer("10.0.0.1", 40000))


@pytest.mark.parametrize(
    ("accept", "method", "is_one"),
    [
        (EVENTS, "GET", True),
        (b" Text/Event-Stream ; q=1", "GET", True),
        (EVENTS, "POST", False),
        (EVENTS, "HEAD", False),
        (None, "GET", False),
        (b"*/*", "GET", False),
        (b"text/event-streams", "GET", False),
        (b"text/event-stream, application/problem+json", "GET", False),
        (b"application/json, text/event-stream", "GET", False),
    ],
)
def test_an_event_source_reads_events_and_nothing_else(accept: bytes | None, method: str, is_one: bool) -> None:
    """Whoever accepts another type too can read a problem document."""
    request = asking(accept, method)
    assert is_event_source(request.method, request.fields) is is_one


@pytest.mark.parametrize(("status", "closed"), [(400, False), (499, False), (500, True), (503, True), (504, True)])
def test_only_a_server_error_is_no_response(status: int, closed: bool) -> None:
    """A request that is wrong stays wrong: nothing is won by sending it again."""
    assert hangs_up(asking(EVENTS), status) is closed
    assert not hangs_up(asking(b"*/*"), status)
