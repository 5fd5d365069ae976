"""Follow a session's restoration: status, then history, of one subject and principal (seed document)."""

import re
import zlib
from math import inf

import orjson

from proxy.http.message import Response
from proxy.policy.bounded import Bounded, Holder
from proxy.policy.recovery_plan import RecoveryKind, Result
from proxy.runtime.enums import FastStrEnum

LONGEST_SUBJECT = 256  # characters; a longer subject is not tracked, so that memory stays bounded
MOST_BYTES = 8_388_608
_ENTRY_BYTES, _ID_BYTES, _CHARACTER_BYTES = 512, 64, 4  # memory of a restoration, an id and a character in CPython
_EMPTY_LIST = re.compile(rb"\[\s*\]")
_INFLATED = 64 * 1024  # bytes; an empty list is shorter, and no more is decompressed


class RestorationState(FastStrEnum):
    """The state of a restoration, in the seed document's terms."""

    NOT_RESTORED = "NotRestored"
    RESTORING = "Restoring"
    RESTORED = "Restored"
    RESTORED_EMPTY = "RestoredEmpty"
    RESTORED_ERROR = "RestoredError"


class Half(FastStrEnum):
    """Which half of a restoration a route is: its `restoration` setting."""

    STATUS = "status"
    HISTORY = "history"


class HalfResult(FastStrEnum):
    """The result of one half of a session restoration."""

    CONTENT = "content"
    NOTHING = "nothing"  # no messages, or no such conversation (404)
    ERROR = "error"  # also a fallback document: it hides the messages
    LEFT = "left"  # the client left, which is no evidence about the session


# Module constants: an Enum member look-up costs 0.1 µs in Python 3.11.
_RESTORING, _STATUS, _HISTORY = RestorationState.RESTORING, Half.STATUS, Half.HISTORY
_CONTENT, _NOTHING, _ERROR, _LEFT = HalfResult.CONTENT, HalfResult.NOTHING, HalfResult.ERROR, HalfResult.LEFT

# A response ends only Restoring. A new status starts again from any state: the seed document's reset() and retry.
TRANSITIONS = {
    (Half.STATUS, HalfResult.CONTENT): RestorationState.RESTORING,
    (Half.STATUS, HalfResult.NOTHING): RestorationState.RESTORED_EMPTY,
    (Half.STATUS, HalfResult.ERROR): RestorationState.RESTORED_ERROR,
    (Half.HISTORY, HalfResult.CONTENT): RestorationState.RESTORED,
    (Half.HISTORY, HalfResult.NOTHING): RestorationState.RESTORED_EMPTY,
    (Half.HISTORY, HalfResult.ERROR): RestorationState.RESTORED_ERROR,
}


class Step:
    """One finished half: monotonic seconds of its start and end, its id, and the client's address."""

    __slots__ = ("address", "began", "correlation_id", "ended", "found", "half")

    def __init__(
        self, half: Half, found: HalfResult, began: float, ended: float, correlation_id: str, address: str = ""
    ) -> None:
        self.half = half
        self.found = found
        self.began = began
        self.ended = ended
        self.correlation_id = correlation_id
        self.address = address


class Restoration:
    """One subject's restoration for one principal. `seconds` run from the status request to the last response."""

    __slots__ = ("began", "correlation_ids", "ended", "state")

    def __init__(self, state: RestorationState, began: float, ended: float, correlation_ids: tuple[str, ...]) -> None:
        self.state = state
        self.began = began
        self.ended = ended
        self.correlation_ids = correlation_ids

    @property
    def seconds(self) -> float:
        """Return the duration, or the time since the start."""
        return self.ended - self.began

    @property
    def finished(self) -> bool:
        """Tell whether it has ended, in any way."""
        return self.state is not _RESTORING


class Restorations:
    """Track restorations: NotRestored --status--> Restoring --history--> Restored | RestoredEmpty | RestoredError.

    A second status while Restoring is a retry and keeps the start time, so that several tabs restore once. `within_s`
    seconds after its last response, an unfinished restoration is NotRestored again. At most `limit` restorations in
    `MOST_BYTES` are tracked; the oldest of the address with the most entries are dropped first.
    """

    __slots__ = ("_known", "_within_s")

    def __init__(self, limit: int = 10_000, within_s: float = 30.0) -> None:
        self._known: Bounded[tuple[str, int], Restoration] = Bounded(limit, MOST_BYTES)
        self._within_s = within_s

    def __len__(self) -> int:
        return len(self._known)

    def take(self, subject: str, who: int, step: Step) -> Restoration | None:
        """Process a finished half; return its restoration, None if it has none."""
        if step.found is _LEFT or len(subject) > LONGEST_SUBJECT:
            return None
        key = subject, who
        known = self._known.get(key, 0.0)
        before = known.value if known is not None and self._goes_on(known.value, step.began) else None
        if before is None and step.half is not _STATUS:
            return None  # the view was mounted again, or it needs no status: not a restoration of the seed document
        ids = () if before is None else before.correlation_ids[-7:]
        began = step.began if before is None else before.began
        after = Restoration(TRANSITIONS[step.half, step.found], began, step.ended, (*ids, step.correlation_id))
        self._known.put(key, after, _size(subject, after), inf, 0.0, Holder(step.address))
        return after

    def of(self, subject: str, now: float) -> list[Restoration]:
        """Return a subject's restorations, one a principal, the latest last; none means NotRestored."""
        known = [held.value for (of, _), held in self._known.items() if of == subject]
        return [known for known in known if known.finished or now - known.ended <= self._within_s]

    def erase(self, subject: str) -> int:
        """Forget a subject's restorations; return how many there were."""
        keys = [key for key, _ in self._known.items() if key[0] == subject]
        for key in keys:
            self._known.drop(key)
        return len(keys)

    def _goes_on(self, known: Restoration, now: float) -> bool:
        return known.state is _RESTORING and now - known.ended <= self._within_s


def _size(subject: str, known: Restoration) -> int:
    ids = sum([len(correlation_id) + _ID_BYTES for correlation_id in known.correlation_ids])
    return _ENTRY_BYTES + _CHARACTER_BYTES * len(subject) + ids


def found(half: Half, result: Result, status: int, *, succeeded: bool) -> HalfResult:
    """Return the result of one half; `status` is the client's status, 0 if it left."""
    if status == 0:
        return _LEFT
    if result.recovery is not None and result.recovery is RecoveryKind.FALLBACK:
        return _ERROR
    if status == 404:
        return _NOTHING
    if status == 304:
        return _CONTENT  # the client has a current copy
    if not succeeded:
        return _ERROR
    return _NOTHING if half is _HISTORY and _without_messages(result.outcome) else _CONTENT


def _without_messages(outcome: object) -> bool:
    """Tell whether a history certainly has no messages. An unreadable body counts as content."""
    if not isinstance(outcome, Response) or not isinstance(outcome.body, bytes):
        return False  # a streamed body is not an empty list
    body = outcome.body if b"content-encoding" not in outcome.fields else _unpacked(outcome)
    if not body:
        return body is not None
    if _EMPTY_LIST.search(body) is None:  # saves parsing a history with messages and no empty list
        return False
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return (document.get("messages") if isinstance(document, dict) else document) == []


def _unpacked(response: Response) -> bytes | None:
    """Return the decoded body, None for an unknown content coding."""
    body = response.body
    assert isinstance(body, bytes)
    coding = response.fields[b"content-encoding"]
    if coding.strip().lower() not in (b"gzip", b"x-gzip", b"deflate"):
        return None
    try:
        return zlib.decompressobj(wbits=47).decompress(body, _INFLATED)  # 47: zlib detects gzip or zlib
    except zlib.error:
        return None
