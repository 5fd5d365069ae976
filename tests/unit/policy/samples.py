"""Sample routes, requests and outcomes for the tests."""

from collections.abc import Callable
from typing import Any

from proxy.http.fields import Fields, Lines
from proxy.http.message import (
    Collected,
    Failure,
    Framing,
    Peer,
    Request,
    Response,
)
from proxy.http.problems import Reason
from proxy.policy.routing import Route
from tests.settings import PLAIN, changed

PEER = Peer("10.0.0.1", 40000)
WALL = 1_765_751_234.0

RESET = Failure(Reason.CONNECTION_TERMINATED, sent=True)
REFUSED = Failure(Reason.CONNECTION_REFUSED, sent=False)
TIMED_OUT = Failure(Reason.RESPONSE_TIMEOUT, sent=True)
OPEN = Failure(Reason.CIRCUIT_OPEN, sent=False, retry_after_s=30.0)


def route(**changes: Any) -> Route:
    """Return a plain route with these changes."""
    return changed(PLAIN, **changes)


def lines(**fields: str) -> Lines:
    """Return field lines; a name is written with underscores."""
    return tuple((name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items())


def request(
    method: str = "GET", target: str = "/api/sessions/r1", body: bytes = b"", peer: Peer = PEER, **fields: str
) -> Request:
    """Return a request with these fields; a name is written with underscores."""
    return Request(method, target.encode("latin-1"), Fields(lines(**fields)), peer, body, authority=b"sidecar")


def response(status: int = 200, body: bytes = b"ok", **fields: str) -> Response:
    """Return a whole answer with these fields; a name is written with underscores."""
    return Response(status, b"", Fields(lines(**fields)), body, Framing.LENGTH)


class Endless:
    """A streamed body that nobody opens."""

    def open(self) -> Any:
        raise AssertionError("nobody may read it")

    def discard(self) -> None:
        raise AssertionError("nobody may drop it")

    def offer(self, over: Callable[[], None]) -> None:
        raise AssertionError("nobody may be offered it")

    def withdraw(self) -> None:
        raise AssertionError("nobody was offered it")

    def collect(self, limit: int, collected: Collected) -> None:
        raise AssertionError("nobody may collect it")
