"""The seed document's error matrix: the meaning of each outcome."""

import pytest

from proxy.http.message import Failure, Outcome
from proxy.http.problems import Reason
from proxy.policy.classify import OUTAGE, Verdict, classify, label
from tests.unit.policy.samples import RESET, TIMED_OUT, response


@pytest.mark.parametrize(
    ("status", "verdict", "error_type"),
    [
        (200, Verdict.SUCCESS, None),
        (204, Verdict.SUCCESS, None),
        (304, Verdict.SUCCESS, None),
        (399, Verdict.SUCCESS, None),
        (400, Verdict.INVALID, "ValidationError"),
        (401, Verdict.REJECTED, "ClientError"),
        (404, Verdict.MISSING, "NotFoundError"),
        (409, Verdict.CONFLICT, "SessionConflictError"),
        (418, Verdict.REJECTED, "ClientError"),
        (422, Verdict.DATA_QUALITY, "DataQualityError"),
        (429, Verdict.RATE_LIMITED, "RateLimitError"),
        (499, Verdict.REJECTED, "ClientError"),
        (500, Verdict.CALCULATION, "CalculationError"),
        (501, Verdict.BROKEN, "ServerError"),
        (502, Verdict.UNAVAILABLE, "IntegrationError"),
        (503, Verdict.UNAVAILABLE, "IntegrationError"),
        (504, Verdict.TIMEOUT, "TimeoutError"),
        (505, Verdict.BROKEN, "ServerError"),
        (599, Verdict.BROKEN, "ServerError"),
        (600, Verdict.BROKEN, "ServerError"),
        (999, Verdict.BROKEN, "ServerError"),
    ],
)
def test_each_status_has_one_meaning(status: int, verdict: Verdict, error_type: str | None) -> None:
    """The seed's matrix by status, with the name that stands in the record."""
    assert classify(response(status)) is verdict
    assert verdict.error_type == error_type


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        (Reason.CONNECTION_REFUSED, Verdict.NETWORK),
        (Reason.CONNECTION_TIMEOUT, Verdict.NETWORK),
        (Reason.CONNECTION_TERMINATED, Verdict.NETWORK),
        (Reason.RESPONSE_INCOMPLETE, Verdict.NETWORK),
        (Reason.PROTOCOL_ERROR, Verdict.NETWORK),
        (Reason.DNS_ERROR, Verdict.NETWORK),
        (Reason.RESPONSE_TIMEOUT, Verdict.TIMEOUT),
        (Reason.CIRCUIT_OPEN, Verdict.REFUSED),
        (Reason.CONNECTION_LIMIT, Verdict.REFUSED),
        (Reason.REQUEST_ERROR, Verdict.REFUSED),
        (Reason.INTERNAL, Verdict.REFUSED),
        (Reason.CANCELLED, Verdict.CANCELLED),
    ],
)
def test_each_failure_has_one_meaning(reason: Reason, verdict: Verdict) -> None:
    """A failure on the way is the network's, a timeout's, our own, or nobody's."""
    assert classify(Failure(reason, sent=True)) is classify(Failure(reason, sent=False)) is verdict


def test_an_outage_is_what_a_substitute_may_stand_for() -> None:
    """Never a 4xx but an exhausted 429, never a 500, never a client that left."""
    assert {verdict for verdict in Verdict if verdict in OUTAGE} == {
        Verdict.NETWORK, Verdict.TIMEOUT, Verdict.UNAVAILABLE, Verdict.RATE_LIMITED, Verdict.REFUSED,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "name"),
    [(response(204), "204"), (RESET, "connection_terminated"), (TIMED_OUT, "http_response_timeout")],
)
def test_a_result_has_a_bounded_name(outcome: Outcome, name: str) -> None:
    """Metrics and records name a result by its status or its RFC 9209 error type."""
    assert label(outcome) == name


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_verdict_of_its_own(reason: Reason) -> None:
    """A new reason counted as a failure of the backend, without a word about it."""
    assert isinstance(classify(Failure(reason, sent=True)), Verdict)
