"""Refusals and failures by name: each has a status, a headline and a document."""

import orjson
import pytest

from proxy.http.problems import (
    TITLES,
    Problem,
    Reason,
    Refusal,
    refused,
)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.CIRCUIT_OPEN, 503),
        (Reason.CONNECTION_LIMIT, 503),
        (Reason.CONNECTION_REFUSED, 502),
        (Reason.CONNECTION_TIMEOUT, 504),
        (Reason.DNS_ERROR, 502),
        (Reason.TLS_PROTOCOL, 502),
        (Reason.TLS_CERTIFICATE, 502),
        (Reason.CONNECTION_TERMINATED, 502),
        (Reason.RESPONSE_INCOMPLETE, 502),
        (Reason.RESPONSE_TIMEOUT, 504),
        (Reason.PROTOCOL_ERROR, 502),
        (Reason.REQUEST_ERROR, 400),
        (Reason.INTERNAL, 500),
        (Reason.UNRECORDED, 503),
        (Reason.CANCELLED, 499),
    ],
)
def test_each_reason_has_its_status(reason: Reason, status: int) -> None:
    """The contract's table of situations and answers."""
    assert reason.status == status


def test_every_reason_has_a_headline_of_its_own() -> None:
    """No reason is left out, and no two read alike."""
    assert len({reason.headline for reason in Reason}) == len(Reason)


def test_every_reason_has_a_detail_of_its_own() -> None:
    """Each row of the table is whole: a sentence that is neither the error type, nor the title, nor another's."""
    assert len({reason.detail for reason in Reason}) == len(Reason)
    assert all(" " in reason.detail and reason.detail != reason.headline for reason in Reason)


def test_a_problem_is_an_rfc_9457_document() -> None:
    """Type, title, status, detail, and the id to ask about; characters are escaped by the encoder."""
    problem = Problem(503, Reason.CIRCUIT_OPEN, "The circuit is open", 'say "when"')
    assert orjson.loads(problem.encode("mine-1")) == {
        "type": "urn:backstay:problem:destination_unavailable",
        "title": "The circuit is open",
        "status": 503,
        "detail": 'say "when"',
        "correlation_id": "mine-1",
    }
    assert orjson.loads(problem.encode("mine-1", 28))["retry_after"] == 28


@pytest.mark.parametrize("status", sorted({*TITLES} - {503}))
def test_a_refusal_becomes_a_problem(status: int) -> None:
    """A refusal's own sentence is the detail, its status gives the title, and RFC 9209 calls it a request error."""
    problem = refused(Refusal(status, "malformed", "this is not HTTP/1.1"))
    assert problem == Problem(status, Reason.REQUEST_ERROR, TITLES[status], "this is not HTTP/1.1", "malformed")


def test_a_503_is_no_fault_of_the_request() -> None:
    """A full house is told as a limit of ours: its error type is no request error."""
    assert refused(Refusal(503, "max_flights", "full", closes=False)).error is Reason.CONNECTION_LIMIT


def test_an_unusual_refusal_has_a_title_too() -> None:
    """A status without a title of its own reads as a refused request."""
    assert refused(Refusal(418, "teapot", "short and stout")).title == "The request was refused"


def test_a_refusal_closes_the_connection_unless_it_says_otherwise() -> None:
    """What is wrong on the wire ends the connection; a decision about one request does not."""
    assert Refusal(400, "malformed", "x").closes
    assert not Refusal(503, "max_flights", "x", closes=False).closes
    assert str(Refusal(400, "malformed", "one clear sentence")) == "one clear sentence"
