"""A restoration is status, then history, of one subject and principal; a fallback is never an empty conversation."""

import gzip

import pytest

from proxy.http.fields import Fields
from proxy.http.message import Failure, Response
from proxy.http.problems import Reason
from proxy.policy.recovery_plan import RecoveryKind, Result
from proxy.policy.restoration import (
    LONGEST_SUBJECT,
    MOST_BYTES,
    Half,
    HalfResult,
    Restoration,
    Restorations,
    RestorationState,
    Step,
    found,
)
from tests.unit.policy.samples import response

ANNA, BOB = 1, 2


def status(at: float, what: HalfResult = HalfResult.CONTENT, took: float = 0.2) -> Step:
    """Return a status request that began at `at`."""
    return Step(Half.STATUS, what, at, at + took, f"status-{at}")


def history(at: float, what: HalfResult = HalfResult.CONTENT, took: float = 0.3) -> Step:
    """Return a history request that began at `at`."""
    return Step(Half.HISTORY, what, at, at + took, f"history-{at}")


def told(restorations: Restorations, *steps: Step, who: int = ANNA) -> list[RestorationState | None]:
    """Let the steps happen, and return the state that each leads to."""
    taken = [restorations.take("val_1", who, step) for step in steps]
    return [None if restoration is None else restoration.state for restoration in taken]


def test_memory_is_bounded_in_bytes() -> None:
    """Subjects and ids are a client's; who brings most loses first."""
    restorations = Restorations()
    restorations.take("val_1", ANNA, Step(Half.STATUS, HalfResult.CONTENT, 1.0, 1.1, "id", "10.0.0.1"))
    for n in range(9_000):
        long = Step(Half.STATUS, HalfResult.CONTENT, float(n), float(n), f"{n:0128}", "10.9.9.9")
        restorations.take(f"{n:0256}", ANNA, long)
    assert restorations._known.size <= MOST_BYTES
    assert len(restorations) < 9_000
    assert len(restorations.of("val_1", 2.0)) == 1


@pytest.mark.parametrize(
    ("what", "state"),
    [
        (HalfResult.CONTENT, RestorationState.RESTORED),
        (HalfResult.NOTHING, RestorationState.RESTORED_EMPTY),
        (HalfResult.ERROR, RestorationState.RESTORED_ERROR),
    ],
)
def test_a_history_ends_what_a_status_began(what: HalfResult, state: RestorationState) -> None:
    """The seed's three endings, each with the time from the status request to the history's answer."""
    restorations = Restorations()
    assert told(restorations, status(10.0)) == [RestorationState.RESTORING]
    ended = restorations.take("val_1", ANNA, history(10.4, what))
    assert ended is not None
    assert (ended.state, ended.finished, round(ended.seconds, 3)) == (state, True, 0.7)
    assert ended.correlation_ids == ("status-10.0", "history-10.4")


@pytest.mark.parametrize(
    ("what", "state"),
    [(HalfResult.NOTHING, RestorationState.RESTORED_EMPTY), (HalfResult.ERROR, RestorationState.RESTORED_ERROR)],
)
def test_a_status_can_end_it_at_once(what: HalfResult, state: RestorationState) -> None:
    """Nothing to restore, or no way to tell: no history is waited for, and one that comes is no second ending."""
    assert told(Restorations(), status(10.0, what), history(10.3)) == [state, None]


def test_a_history_alone_is_no_restoration() -> None:
    """A remounted view that asks for the history again does not count twice."""
    restorations = Restorations()
    assert told(restorations, history(1.0)) == [None]
    assert told(restorations, status(2.0), history(2.3), history(5.0)) == [
        RestorationState.RESTORING,
        RestorationState.RESTORED,
        None,
    ]


def test_a_new_status_begins_again() -> None:
    """That is the seed's reset(): every page load is a restoration with its own time."""
    restorations = Restorations()
    told(restorations, status(10.0), history(10.3))
    told(restorations, status(60.0))
    again = restorations.take("val_1", ANNA, history(60.2))
    assert again is not None
    assert round(again.seconds, 3) == 0.5


def test_tabs_restore_together_and_a_retry_keeps_its_start() -> None:
    """A second status while restoring is the seed's retry: one restoration, timed from its first request."""
    restorations = Restorations()
    told(restorations, status(10.0), status(10.5))
    ended = restorations.take("val_1", ANNA, history(10.8))
    assert ended is not None
    assert round(ended.seconds, 3) == 1.1


def test_principals_do_not_finish_each_others_restorations() -> None:
    """Bob's history says nothing about Anna's."""
    restorations = Restorations()
    told(restorations, status(10.0), who=ANNA)
    assert told(restorations, history(10.3), who=BOB) == [None]
    assert told(restorations, history(10.4), who=ANNA) == [RestorationState.RESTORED]


def test_a_client_that_left_changes_nothing() -> None:
    """Its own next request goes on where it left."""
    restorations = Restorations()
    states = told(restorations, status(10.0), history(10.3, HalfResult.LEFT), history(10.9))
    assert states == [RestorationState.RESTORING, None, RestorationState.RESTORED]


def test_one_that_nobody_goes_on_with_is_not_restored() -> None:
    """A history half a minute later belongs to another view, and the subject is NotRestored again."""
    restorations = Restorations(within_s=30.0)
    told(restorations, status(10.0))
    assert [known.state for known in restorations.of("val_1", 40.0)] == [RestorationState.RESTORING]
    assert restorations.of("val_1", 41.0) == []
    assert told(restorations, history(41.0)) == [None]


def test_a_subject_shows_every_principal_latest_last() -> None:
    """Whoever looks a subject up sees each of its users."""
    restorations = Restorations()
    told(restorations, status(1.0), who=ANNA)
    told(restorations, status(2.0), history(2.2), who=BOB)
    told(restorations, history(3.0, HalfResult.ERROR), who=ANNA)
    known: list[Restoration] = restorations.of("val_1", 4.0)
    assert [one.state for one in known] == [RestorationState.RESTORED, RestorationState.RESTORED_ERROR]
    assert restorations.of("val_2", 4.0) == []


def test_memory_is_bounded() -> None:
    """A million subjects leave the newest; a subject of any length leaves nothing."""
    restorations = Restorations(limit=3)
    for n in range(100):
        restorations.take(f"val_{n}", ANNA, status(float(n)))
    assert len(restorations) == 3
    assert restorations.of("val_99", 99.0)
    assert restorations.take("x" * (LONGEST_SUBJECT + 1), ANNA, status(1.0)) is None


def answer(body: bytes, status: int = 200, coding: bytes = b"") -> Result:
    """Return what a flight brought home."""
    fields = Fields(((b"Content-Encoding", coding),)) if coding else Fields(())
    return Result(Response(status, b"", fields, body))


@pytest.mark.parametrize(
    ("body", "coding", "what"),
    [
        (b'{"messages": []}', b"", HalfResult.NOTHING),
        (b'{"messages":[ ],"reportId":"val_1"}', b"", HalfResult.NOTHING),
        (b"[]", b"", HalfResult.NOTHING),
        (b"", b"", HalfResult.NOTHING),
        (gzip.compress(b'{"messages": []}'), b"gzip", HalfResult.NOTHING),
        (b'{"messages": [{"text": "hello"}]}', b"", HalfResult.CONTENT),
        (b'{"messages": [{"files": []}]}', b"", HalfResult.CONTENT),
        (b'{"messages": [], "broken', b"", HalfResult.CONTENT),
        (b'{"turns": []}', b"", HalfResult.CONTENT),
        (b'{"messages": []}', b"br", HalfResult.CONTENT),
        (b"no gzip", b"gzip", HalfResult.CONTENT),
    ],
)
def test_only_a_sure_answer_is_empty(body: bytes, coding: bytes, what: HalfResult) -> None:
    """An empty list of messages, packed or not, is empty; what cannot be read is not called so."""
    assert found(Half.HISTORY, answer(body, coding=coding), 200, succeeded=True) is what


def test_a_status_is_never_empty_by_its_body() -> None:
    """Only the history holds messages."""
    assert found(Half.STATUS, answer(b'{"messages": []}'), 200, succeeded=True) is HalfResult.CONTENT


def test_a_fallback_is_an_error() -> None:
    """Its empty list says that the messages could not be loaded, not that there are none."""
    fallback = answer(b'{"messages": [], "degraded": true}')._replace(recovery=RecoveryKind.FALLBACK)
    assert found(Half.HISTORY, fallback, 200, succeeded=True) is HalfResult.ERROR


def test_a_stale_answer_restores() -> None:
    """The user sees the messages."""
    stale = answer(b'{"messages": [1]}')._replace(recovery=RecoveryKind.STALE)
    assert found(Half.HISTORY, stale, 200, succeeded=True) is HalfResult.CONTENT


@pytest.mark.parametrize(
    ("status", "succeeded", "what"),
    [
        (404, False, HalfResult.NOTHING),
        (401, False, HalfResult.ERROR),
        (503, False, HalfResult.ERROR),
        (200, False, HalfResult.ERROR),
        (0, False, HalfResult.LEFT),
    ],
)
def test_other_endings(status: int, succeeded: bool, what: HalfResult) -> None:
    """A conversation that does not exist has no messages; a refusal, a failure or half an answer is an error."""
    result = Result(Failure(Reason.CONNECTION_TERMINATED, sent=True))
    assert found(Half.HISTORY, result, status, succeeded=succeeded) is what


def test_a_304_is_what_the_client_has_already() -> None:
    """Its body is empty, and the history is not: before, it counted as a restoration without messages."""
    for half in (Half.STATUS, Half.HISTORY):
        assert found(half, Result(response(304, b"")), 304, succeeded=True) is HalfResult.CONTENT
