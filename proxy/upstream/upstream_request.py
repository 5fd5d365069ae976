"""One request on a backend connection, with the future of its response."""

from typing import Final

from proxy.exchange.ports import Interim
from proxy.http.message import (
    BodyStream,
    Failure,
    Outcome,
    Request,
)
from proxy.http.problems import Reason
from proxy.runtime.immediate_future import ImmediateFuture

STALE: Final = Failure(
    Reason.CONNECTION_TERMINATED, sent=True, detail="a pooled connection was closed before it was used", evidence=False
)
UNSENT: Final = Failure(
    Reason.CONNECTION_TERMINATED, sent=False, detail="the connection ended before the request was written"
)
READ_WITH_HEAD: Final = 4096  # bytes of a body: no socket accepts fewer at once, and a backend reads them with the head
LATE = Failure(Reason.RESPONSE_TIMEOUT, sent=True)
NOT_TAKEN = Failure(Reason.RESPONSE_TIMEOUT, sent=True, detail="the backend stopped reading the request's body")


class UpstreamRequest:
    """The state of one request on a connection. Times are in seconds.

    `timeout_s` runs from the last byte of the request to the response head; `idle_s` limits a pause in either body.
    """

    __slots__ = (
        "at_once",
        "future",
        "idle_s",
        "interim",
        "interims",
        "large",
        "sent",
        "stream",
        "timeout_s",
    )

    def __init__(
        self, request: Request, future: ImmediateFuture[Outcome], interim: Interim, timeout_s: float, idle_s: float
    ) -> None:
        body = request.body
        self.sent = request
        self.future = future
        self.at_once = True  # False: the caller of `finish` has more to do afterwards
        self.interim = interim
        self.interims = 0  # interim responses so far
        self.stream: BodyStream | None = None
        self.large = True
        if isinstance(body, bytes):
            self.large = len(body) > READ_WITH_HEAD
        else:
            self.stream = body
        self.timeout_s = timeout_s
        self.idle_s = idle_s

    def settle(self, outcome: Outcome) -> None:
        """Resolve the outcome in the next loop iteration, unless it is resolved already."""
        if not self.future.done():
            self.future.set_result(outcome)

    def finish(self, outcome: Outcome) -> None:
        """Resolve the outcome. The waiter runs before this returns unless `at_once` is False."""
        if self.future.done():
            return
        if self.at_once:
            self.future.resolve_now(outcome)
        else:
            self.future.set_result(outcome)
