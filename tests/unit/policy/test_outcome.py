"""The outcome of an exchange as one bounded value."""

import pytest

from proxy.http.problems import Reason
from proxy.policy.outcome import GOOD, RequestOutcome, ending
from proxy.policy.recovery_plan import RecoveryKind, Result
from tests.unit.policy.samples import OPEN, TIMED_OUT, response


@pytest.mark.parametrize(
    ("result", "status", "refused", "truncated", "word"),
    [
        (Result(response(200)), 200, False, False, "answered"),
        (Result(response(304)), 304, False, False, "answered"),
        (Result(response(404)), 404, False, False, "rejected"),
        (Result(response(500)), 500, False, False, "failed"),
        (Result(response(200), RecoveryKind.FALLBACK), 200, False, False, "recovered"),
        (Result(response(200), RecoveryKind.STALE, ttl_s=-5), 200, False, False, "recovered"),
        (Result(response(200), ttl_s=1), 200, False, False, "reused"),
        (Result(response(200)), 200, False, True, "truncated"),
        (Result(OPEN), 503, False, False, "destination_unavailable"),
        (Result(TIMED_OUT), 504, False, False, "http_response_timeout"),
        (Result(TIMED_OUT), 400, True, False, "refused"),
        (Result(response(200)), 0, False, False, "cancelled"),
    ],
)
def test_each_ending_has_its_word(result: Result, status: int, refused: bool, truncated: bool, word: str) -> None:
    """A recovered answer says so; a client that left first is `cancelled`, whatever was on its way."""
    assert ending(result, status, refused=refused, truncated=truncated) == word


def test_what_counts_as_success() -> None:
    """Answered, recovered and reused; everything else left the client without what it asked for."""
    words = {*map(str, RequestOutcome), *map(str, Reason)}
    assert {word for word in words if word in GOOD} == {"answered", "recovered", "reused"}
