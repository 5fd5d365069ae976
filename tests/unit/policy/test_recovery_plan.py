"""The planned recovery for each failed or unwanted response."""

import orjson
import pytest

from proxy.http.message import (
    Failure,
    Framing,
    Outcome,
    Response,
)
from proxy.http.problems import Reason
from proxy.policy import recovery_plan
from proxy.policy.recovery_plan import (
    HONEST,
    AnswerInstead,
    Create,
    FallbackDocument,
    LoadAgain,
    LoadExisting,
    Plan,
    RecoveryKind,
    RecoveryRules,
    RequestTemplate,
    Result,
    UseStale,
    fill_path,
)
from tests.settings import recovery_rules
from tests.unit.policy.samples import OPEN, REFUSED, RESET, TIMED_OUT, request, response

NONE = recovery_rules()
CONFLICT = recovery_rules(on_conflict=RequestTemplate("GET", "/api/sessions/{subject}"))
MISSING = recovery_rules(
    on_missing=RequestTemplate("POST", "/api/sessions", {"reportId": "{subject}", "n": [1, "{x}"]})
)
FALLBACK = recovery_rules(fallback=FallbackDocument(200, {"report": "{subject}", "deep": [{"again": "<{subject}>"}]}))
STALE = recovery_rules(stale_if_error_s=600.0, fallback=FallbackDocument(200, {}))
OUTAGES: list[Outcome] = [RESET, REFUSED, TIMED_OUT, OPEN, response(502), response(503), response(504), response(429)]


def plan(rules: RecoveryRules, outcome: Outcome, subject: str | None = "r1") -> Plan:
    """Plan for one outcome."""
    return recovery_plan.plan(rules, outcome, {}, subject)


def recovered(plan: Plan) -> Response:
    """Return the answer that the plan gives."""
    assert isinstance(plan, AnswerInstead)
    assert isinstance(plan.result.outcome, Response)
    return plan.result.outcome


@pytest.mark.parametrize("outcome", [response(200), response(409), response(404), response(500), *OUTAGES])
def test_a_route_that_opts_in_to_nothing_is_honest(outcome: Outcome) -> None:
    """Only for routes that opt in."""
    assert plan(NONE, outcome) is HONEST


def test_a_conflict_loads_what_exists() -> None:
    """A 409, and nothing else, on a route with `on_conflict`."""
    assert plan(CONFLICT, response(409)) == LoadExisting("GET", b"/api/sessions/r1")
    for outcome in (response(200), response(404), response(412), *OUTAGES):
        assert plan(CONFLICT, outcome) is HONEST


@pytest.mark.parametrize("subject", [None, "", ".", ".."])
def test_a_conflict_without_a_usable_subject_stays_one(subject: str | None) -> None:
    """A placeholder that is empty, `.` or `..` is refused, so nothing else is loaded by mistake."""
    assert plan(CONFLICT, response(409), subject) is HONEST


def test_what_was_found_is_a_success_with_a_reason() -> None:
    """The loaded session, with the status that was received."""
    found = response(200, b"existing")
    result = recovery_plan.after_load(CONFLICT, response(409), found, {}, "r1")
    assert isinstance(result, AnswerInstead)
    assert (result.result.outcome, result.kind, result.result.received_status) == (found, RecoveryKind.EXISTING, 409)


@pytest.mark.parametrize("found", [response(404), response(500), response(304), RESET])
def test_what_was_not_found_falls_back_or_stays_as_it_came(found: Outcome) -> None:
    """The fallback if configured, else the 409."""
    assert recovery_plan.after_load(CONFLICT, response(409), found, {}, "r1") is HONEST
    both = recovery_rules(on_conflict=CONFLICT.on_conflict, fallback=FallbackDocument(200, {"none": True}))
    result = recovery_plan.after_load(both, response(409), found, {}, "r1")
    assert recovered(result).body == b'{"none":true}'


def test_what_is_missing_is_created() -> None:
    """A 404, and nothing else, on a route with `on_missing`; its document names the subject."""
    step = plan(MISSING, response(404), 'r"1')
    assert isinstance(step, Create)
    assert (step.method, step.target) == ("POST", b"/api/sessions")
    assert orjson.loads(step.body) == {"reportId": 'r"1', "n": [1, "{x}"]}
    for outcome in (response(200), response(410), response(409), *OUTAGES):
        assert plan(MISSING, outcome) is HONEST


def test_nothing_is_created_under_a_name_that_is_not_its_own() -> None:
    """A subject that is no UTF-8 cannot stand in a document as it is; two of them would become one."""
    assert plan(MISSING, response(404), "a\udcff") is HONEST


def test_a_created_resource_is_answered_as_found() -> None:
    """200 with its body and without Location, whatever 2xx the create gave."""
    after = recovery_plan.after_create(response(404), response(201, b"made", Location="/x", ETag="1"))
    answer = recovered(after)
    assert (answer.status, answer.body, answer.fields.get(b"location"), answer.fields.get(b"etag")) == (
        200, b"made", None, b"1",
    )  # fmt: skip
    assert isinstance(after, AnswerInstead)
    assert (after.kind, after.result.received_status) == (RecoveryKind.CREATED, 404)


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_create_without_a_body_is_followed_by_a_second_look(status: int) -> None:
    """There is nothing to answer with, so the first question is asked again."""
    assert isinstance(recovery_plan.after_create(response(404), response(status, b"")), LoadAgain)


@pytest.mark.parametrize(("status", "fields"), [(204, {}), (205, {b"content-length": b"0"}), (304, {})])
@pytest.mark.parametrize("body", [None, {}, {"degraded": True}])
def test_a_fallback_without_content_is_a_head_alone(status: int, fields: dict[bytes, bytes], body: object) -> None:
    """RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5: no body, and no field that announces one."""
    answer = recovered(plan(recovery_rules(fallback=FallbackDocument(status, body)), RESET))
    assert (answer.status, answer.body, answer.framing, answer.fields) == (status, b"", Framing.NONE, fields)


def test_a_create_that_did_not_work() -> None:
    """A 409 means that somebody was faster: ask again; anything else leaves the 404."""
    assert isinstance(recovery_plan.after_create(response(404), response(409)), LoadAgain)
    for created in (response(400), response(503), RESET):
        assert recovery_plan.after_create(response(404), created) is HONEST
    assert isinstance(recovery_plan.after_load_again(response(404), response(200)), AnswerInstead)
    assert recovery_plan.after_load_again(response(404), response(404)) is HONEST
    assert recovery_plan.after_load_again(response(404), RESET) is HONEST


@pytest.mark.parametrize("outcome", OUTAGES)
def test_an_outage_gives_the_fallback(outcome: Outcome) -> None:
    """Circuit open, ladder exhausted, an exhausted 429 too, 502/503/504, and the deadline."""
    after = plan(FALLBACK, outcome)
    answer = recovered(after)
    assert orjson.loads(answer.body) == {"report": "r1", "deep": [{"again": "<r1>"}]}  # type: ignore[arg-type]
    assert answer.framing is Framing.LENGTH
    assert answer.fields.get(b"content-length") == b"%d" % len(answer.body)  # type: ignore[arg-type]
    assert isinstance(after, AnswerInstead)
    assert after.kind is RecoveryKind.FALLBACK


@pytest.mark.parametrize("outcome", OUTAGES)
def test_an_outage_looks_for_a_stale_answer_first(outcome: Outcome) -> None:
    """The order is stale, fallback, honest."""
    assert isinstance(plan(STALE, outcome), UseStale)


@pytest.mark.parametrize("rules", [FALLBACK, STALE])
@pytest.mark.parametrize("status", [200, 304, 400, 401, 403, 404, 409, 422, 500, 501])
def test_no_substitute_for_what_is_no_outage(rules: RecoveryRules, status: int) -> None:
    """Never for 4xx, never for a 500: they are answers."""
    assert plan(rules, response(status)) is HONEST


@pytest.mark.parametrize("rules", [FALLBACK, STALE])
@pytest.mark.parametrize("reason", [Reason.CANCELLED, Reason.REQUEST_ERROR, Reason.UNRECORDED])
@pytest.mark.parametrize("sent", [True, False])
def test_no_substitute_for_a_client_that_left_or_was_at_fault(rules: RecoveryRules, reason: Reason, sent: bool) -> None:
    """An outage is the backend's, not the client's, and not the trail's: what cannot be recorded is not answered."""
    outcome = Failure(reason, sent=sent)
    assert plan(rules, outcome) is HONEST
    assert recovery_plan.last_resort(rules, outcome, {}, "r1") is HONEST
    assert recovery_plan.preflight(outcome, response(204)) is None


def test_a_path_parameter_named_subject_is_not_the_subject() -> None:
    """The request's subject is: a route may have it in the body, and any name in its path."""
    names = {"subject": "of the path", "id": "7"}
    planned = recovery_plan.plan(CONFLICT, response(409), names, "r1")
    assert planned == LoadExisting("GET", b"/api/sessions/r1")
    assert recovery_plan.filled("{subject} {id}", names, "r1") == "r1 7"
    assert recovery_plan.filled("{subject}", names, None) == "of the path"


def test_a_fallback_can_be_read_by_the_browser() -> None:
    """The CORS lines go onto the sidecar's own document, and onto nothing that came from upstream."""
    cors = ((b"Access-Control-Allow-Origin", b"https://app.example"),)
    own = plan(FALLBACK, RESET)
    assert isinstance(own, AnswerInstead)
    readable = own.readable(cors).outcome
    assert isinstance(readable, Response)
    assert readable.fields.lines[-1:] == cors
    theirs = AnswerInstead(recovery_plan.recovered(response(409), response(), RecoveryKind.EXISTING))
    assert theirs.readable(cors) is theirs.result


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("r1", b"/s/r1"),
        ("a b", b"/s/a%20b"),
        ("a/../b", b"/s/a%2F..%2Fb"),
        ("a?x=1#y", b"/s/a%3Fx%3D1%23y"),
        ("a%2Fb", b"/s/a%252Fb"),
        ("ä", b"/s/%C3%A4"),
        ("a\udcff", b"/s/a%FF"),
        ("a\r\nHost: evil", b"/s/a%0D%0AHost%3A%20evil"),
        ("...", b"/s/..."),
        ("~._-", b"/s/~._-"),
        ("{subject}", b"/s/%7Bsubject%7D"),
        ("", None),
        (".", None),
        ("..", None),
    ],
)
def test_a_placeholder_is_one_path_segment(value: str, filled: bytes | None) -> None:
    """Percent-encoded, byte for byte what the client named, and never a step up the tree."""
    assert fill_path("/s/{id}", {"id": value}, None) == filled


def test_placeholders_are_filled_by_name() -> None:
    """The path's names and the subject; a name that nobody knows fills nothing."""
    assert fill_path("/{subject}/{id}/x", {"id": "2"}, "1") == b"/1/2/x"
    assert fill_path("/{unknown}", {"id": "2"}, "1") is None
    assert fill_path("/fixed", {}, None) == b"/fixed"


def test_a_subject_that_is_no_utf8_fills_a_document_readably() -> None:
    """What JSON cannot carry becomes U+FFFD; before, the fallback became a 500."""
    assert b"\xef\xbf\xbd" in bytes(recovered(plan(FALLBACK, RESET, "a\udcff")).body)  # type: ignore[arg-type]


def test_recoverys_own_request_is_the_same_principals() -> None:
    """Who asks goes along, what the first request carried does not."""
    first = request(
        "POST", "/api/sessions", b"{}", Authorization="Bearer a", Cookie="sid=1", X_Api_Key="k", Origin="https://a",
        Content_Type="text/plain", Content_Length="2", Content_Encoding="gzip", If_Match="1", Idempotency_Key="k1",
        Expect="100-continue", Range="bytes=0-", Transfer_Encoding="chunked",
    )  # fmt: skip
    own = recovery_plan.own_request(first, "GET", b"/api/sessions/r1")
    assert {name for name, _ in own.fields.lines} == {b"Authorization", b"Cookie", b"X-Api-Key", b"Origin"}
    assert (own.method, own.target, own.body, own.framing) == ("GET", b"/api/sessions/r1", b"", Framing.NONE)
    assert (own.authority, own.peer, own.client) == (first.authority, first.peer, first.client)


def test_recoverys_own_create_carries_its_document_and_its_key() -> None:
    """JSON with its length, and a key of its own."""
    own = recovery_plan.own_request(request(Idempotency_Key="theirs"), "POST", b"/x", b"{}", b"ours")
    assert own.fields.all(b"idempotency-key") == [b"ours"]
    assert own.fields.all(b"content-length") == [b"2"]
    assert own.fields.get(b"content-type") == b"application/json"
    assert (own.body, own.framing, own.replayable) == (b"{}", Framing.LENGTH, True)


def test_an_outage_repeats_a_known_preflight() -> None:
    """Only in an outage, and only what the upstream once said."""
    learnt = response(204, b"")
    again = recovery_plan.preflight(OPEN, learnt)
    assert recovered(again or HONEST) is learnt
    assert recovery_plan.preflight(OPEN, None) is None
    assert recovery_plan.preflight(response(403), learnt) is None
    assert recovery_plan.preflight(Failure(Reason.CANCELLED, sent=True), learnt) is None


@pytest.mark.parametrize("outcome", [response(200), Failure(Reason.RESPONSE_TIMEOUT, sent=True)])
def test_a_result_without_recovery_is_the_outcome_alone(outcome: Outcome) -> None:
    """However it is made: every other attribute has its default."""
    assert recovery_plan.unrecovered(outcome) == Result(outcome)
    assert type(recovery_plan.unrecovered(outcome)) is Result
