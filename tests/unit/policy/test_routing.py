"""The route and the subject of a request."""

from collections.abc import Callable
from functools import partial
from time import thread_time

import pytest

from proxy.http.fields import Fields
from proxy.http.message import Request
from proxy.policy.routing import Match, Router, Subject, SubjectRule, subject_of
from tests.settings import a_route
from tests.unit.policy.samples import PEER, Endless, request, route

CATCH_ALL = route(operation="passthrough", method="*", template="*")


def routed(*templates: str) -> Router:
    """Return a router whose routes are called after their templates."""
    pairs = (template.rpartition(" ")[::2] for template in templates)
    return Router([route(operation=f"{m} {path}", method=m, template=path) for m, path in pairs], CATCH_ALL)


ROUTER = routed(
    "POST /api/sessions",
    "GET /api/sessions/{id}",
    "PATCH /api/sessions/{id}",
    "GET /api/sessions/current",
    "GET /api/sessions/{id}/history",
    "GET /api/{kind}/all",
    "GET /",
    "GET /api/a%20b",
)


@pytest.mark.parametrize(
    ("method", "target", "operation"),
    [
        ("POST", "/api/sessions", "POST /api/sessions"),
        ("POST", "/api/sessions?x=1", "POST /api/sessions"),
        ("POST", "/api/sessions?", "POST /api/sessions"),
        ("GET", "/api/sessions/r1", "GET /api/sessions/{id}"),
        ("PATCH", "/api/sessions/r1", "PATCH /api/sessions/{id}"),
        ("GET", "/api/sessions/current", "GET /api/sessions/current"),
        ("PATCH", "/api/sessions/current", "PATCH /api/sessions/{id}"),
        ("GET", "/api/sessions/all", "GET /api/sessions/{id}"),
        ("GET", "/api/reports/all", "GET /api/{kind}/all"),
        ("GET", "/api/sessions/r1/history", "GET /api/sessions/{id}/history"),
        ("GET", "/api/sessions/current/history", "GET /api/sessions/{id}/history"),
        ("GET", "/", "GET /"),
        ("GET", "/api/a%20b", "GET /api/a%20b"),
        ("GET", "/api/sessions", "passthrough"),
        ("POST", "/api/sessions/", "passthrough"),
        ("GET", "/api/sessions/", "passthrough"),
        ("GET", "/api/sessions//history", "passthrough"),
        ("GET", "//api/sessions/r1", "passthrough"),
        ("GET", "/API/sessions/r1", "passthrough"),
        ("GET", "/api/%73essions/r1", "passthrough"),
        ("GET", "/api/sessions/r1/", "passthrough"),
        ("GET", "/api/sessions/r1/history/x", "passthrough"),
        ("HEAD", "/api/sessions/r1", "passthrough"),
        ("DELETE", "/api/sessions/r1", "passthrough"),
        ("get", "/api/sessions/r1", "passthrough"),
        ("OPTIONS", "*", "passthrough"),
        ("GET", "", "passthrough"),
        ("GET", "/api/{kind}/all", "GET /api/{kind}/all"),
    ],
)
def test_each_request_has_one_route(method: str, target: str, operation: str) -> None:
    """A literal wins over a name, raw bytes are compared, and what matches nothing passes plainly."""
    assert ROUTER.match(request(method, target)).route.operation == operation


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        ("r1", "r1"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("%2e%2e", ".."),
        ("a%2Fb", "a/b"),
        ("%zz", "%zz"),
        ("%", "%"),
        ("%C3%A4", "ä"),
        ("%ff", "\udcff"),
        ("a;b=c", "a;b=c"),
        ("[x]", "[x]"),
        ("a\\b", "a\\b"),
    ],
)
def test_a_name_is_its_segment_decoded_once(segment: str, name: str) -> None:
    """Odd encodings neither fail nor split segments: `%2F` is no slash, `%zz` is itself."""
    assert ROUTER.match(request("GET", f"/api/sessions/{segment}")).names == {"id": name}


def test_two_templates_of_one_shape_keep_their_own_names() -> None:
    """The same place in a path may be called differently on different routes."""
    router = routed("GET /a/{x}/b", "GET /a/{y}/c")
    assert router.match(request("GET", "/a/1/b")).names == {"x": "1"}
    assert router.match(request("GET", "/a/2/c")).names == {"y": "2"}


def test_going_back_forgets_what_did_not_match() -> None:
    """A name taken on a way that led nowhere is not among the names of the one that did."""
    router = routed("GET /{a}/x/{b}/end", "GET /lit/{c}/{d}/other")
    assert router.match(request("GET", "/lit/x/1/end")).names == {"a": "lit", "b": "1"}
    assert router.match(request("GET", "/lit/x/1/other")).names == {"c": "x", "d": "1"}


@pytest.mark.parametrize(
    ("templates", "operation"),
    [
        (("GET /a/{x}/e", "POST /a/{x}/b", "GET /d"), "passthrough"),
        (("GET /a/{x}/b", "GET /a/1/c"), "GET /a/{x}/b"),
        (("GET /a/1/c", "GET /a/{x}/b"), "GET /a/{x}/b"),
        (("GET /a/1/c", "GET /{rest...}"), "GET /{rest...}"),
        (("GET /a/{x}/c", "GET /a/{rest...}"), "GET /a/{rest...}"),
    ],
)
def test_a_table_is_searched_again_only_where_another_way_can_lead_further(
    templates: tuple[str, ...], operation: str
) -> None:
    """Whether one can is known once per table: a literal beside a name, or a rest, in either order."""
    assert routed(*templates).match(request("GET", "/a/1/b")).route.operation == operation


RESTS = routed(
    "GET /api/{rest...}",
    "GET /api/{id}",
    "GET /api/{id}/x",
    "POST /api/{id}/{rest...}",
    "ANY /archive/{rest...}",
    "GET, HEAD /archive/{id}",
    "ANY /archive/{id}",
    "PUT /archive/current",
)


@pytest.mark.parametrize(
    ("method", "target", "operation", "names"),
    [
        ("GET", "/api/1", "GET /api/{id}", {"id": "1"}),
        ("GET", "/api/1/x", "GET /api/{id}/x", {"id": "1"}),
        ("GET", "/api/1/y", "GET /api/{rest...}", {"rest": "1/y"}),
        ("GET", "/api/1/x/z", "GET /api/{rest...}", {"rest": "1/x/z"}),
        ("GET", "/api/", "GET /api/{rest...}", {"rest": ""}),
        ("GET", "/api//x", "GET /api/{rest...}", {"rest": "/x"}),
        ("GET", "/api/a%2Fb/c%20d", "GET /api/{rest...}", {"rest": "a%2Fb/c%20d"}),
        ("GET", "/api", "passthrough", {}),
        ("POST", "/api/a%20b/c/d", "POST /api/{id}/{rest...}", {"id": "a b", "rest": "c/d"}),
        ("POST", "/api/1", "passthrough", {}),
        ("BREW", "/archive/1/2", "ANY /archive/{rest...}", {"rest": "1/2"}),
        ("HEAD", "/archive/1", "GET, HEAD /archive/{id}", {"id": "1"}),
        ("DELETE", "/archive/1", "ANY /archive/{id}", {"id": "1"}),
        ("PUT", "/archive/current", "PUT /archive/current", {}),
        ("GET", "/archive/current", "GET, HEAD /archive/{id}", {"id": "current"}),
        ("POST", "/archive/current/x", "ANY /archive/{rest...}", {"rest": "current/x"}),
    ],
)
def test_a_rest_and_any_method_come_last(method: str, target: str, operation: str, names: dict[str, str]) -> None:
    """A literal wins over a name, a name over a rest, a method over ANY; a rest is not decoded."""
    match = RESTS.match(request(method, target))
    assert (match.route.operation, match.names) == (operation, names)


def test_an_empty_rest_is_no_subject() -> None:
    """Requests with an empty rest have no subject, instead of one common subject."""
    router = Router([route(template="/api/{rest...}", subject=SubjectRule("path", "rest"))], CATCH_ALL)
    asked = request("GET", "/api/")
    assert subject_of(router.match(asked), asked) == Subject(None, "path:rest is missing")


def test_two_thousand_routes_match_as_fast_as_two() -> None:
    """Time depends on the path's length alone: a linear search would take hundreds of times as long, not a few."""
    few, many = (routed(*(f"GET /api/r{n}/{{id}}/x{n}" for n in range(2_000 - count, 2_000))) for count in (2, 2_000))
    last = request("GET", "/api/r1999/1/x1999")
    assert few.match(last).route.operation == many.match(last).route.operation == "GET /api/r1999/{id}/x1999"
    rounds = [[_cpu_s(partial(router.match, last)) for router in (few, many)] for _ in range(5)]
    assert min(slow for _, slow in rounds) < 20 * min(quick for quick, _ in rounds)


def _cpu_s(act: Callable[[], object]) -> float:
    """Return the CPU seconds that this thread spends on a thousand calls."""
    began = thread_time()
    for _ in range(1_000):
        act()
    return thread_time() - began


def test_a_preflights_scope_is_what_it_asks_leave_for() -> None:
    """The method and the operation, so that one session's preflight speaks for another's; else nothing."""
    asked = request("OPTIONS", "/api/sessions/r1", Access_Control_Request_Method="PATCH")
    other = request("OPTIONS", "/api/sessions/r2", Access_Control_Request_Method="PATCH")
    nowhere = request("OPTIONS", "/elsewhere", Access_Control_Request_Method="PATCH")
    assert ROUTER.scope(asked) == ROUTER.scope(other) == b"PATCH PATCH /api/sessions/{id}"
    assert ROUTER.scope(nowhere) == b"PATCH /elsewhere"
    assert ROUTER.scope(request("OPTIONS", "/api/sessions/r1")) == b""
    assert ROUTER.scope(request("GET", "/api/sessions/r1", Access_Control_Request_Method="PATCH")) == b""


def subject(rule: str, asked: Request, **names: str) -> Subject:
    """Return the subject that a rule such as `body:/reportId` finds."""
    source, _, name = rule.partition(":")
    return subject_of(Match(route(subject=SubjectRule(source, name)), names), asked)


def test_a_route_without_a_subject_has_none() -> None:
    """No rule, no subject, and nothing to note."""
    assert subject_of(Match(route(), {}), request()) == Subject(None)


def test_a_subject_in_the_path_is_the_decoded_name() -> None:
    """`path:id`."""
    assert subject("path:id", request(), id="a b") == Subject("a b")


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("/x?reportId=r1", "r1"),
        ("/x?a=b&reportId=a%20b+c", "a b c"),
        ("/x?reportId=1&reportId=2", "2"),
        ("/x?reportId=%C3%A4", "ä"),
        ("/x?reportid=r1", None),
        ("/x?reportId=", None),
        ("/x?reportId", None),
        ("/x?", None),
        ("/x", None),
    ],
)
def test_a_subject_in_the_query(target: str, value: str | None) -> None:
    """`query:reportId`, decoded as a form would; empty is missing."""
    found = subject("query:reportId", request("GET", target))
    assert found == Subject(value, None if value else "query:reportId is missing")


@pytest.mark.parametrize(("value", "found"), [("r1", "r1"), ("\xe4", "ä"), ("", None)])
def test_a_subject_in_a_header(value: str, found: str | None) -> None:
    """`header:X-Report-Id`, whatever case it came in."""
    assert subject("header:X-Report-Id", request(x_REPORT_id=value)).value == found


@pytest.mark.parametrize(
    ("rule", "body", "value"),
    [
        ("body:/reportId", b'{"reportId":"r1"}', "r1"),
        ("body:/reportId", b'\xef\xbb\xbf{"reportId":"r1"}', None),
        ("body:/a/b", b'{"a":{"b":"x"}}', "x"),
        ("body:/a/1", b'{"a":["x","y"]}', "y"),
        ("body:/a/2", b'{"a":["x","y"]}', None),
        ("body:/a/-1", b'{"a":["x","y"]}', None),
        ("body:/a/-", b'{"a":["x","y"]}', None),
        ("body:/1", b'{"1":"x"}', "x"),
        ("body:/a~1b", b'{"a/b":"x"}', "x"),
        ("body:/a~0b", b'{"a~b":"x"}', "x"),
        ("body:/a~01b", b'{"a~1b":"x"}', "x"),
        ("body:/", b'{"":"x"}', "x"),
        ("body:/reportId", b'{"reportId":17}', "17"),
        ("body:/reportId", b'{"reportId":null}', None),
        ("body:/reportId", b'{"reportId":""}', None),
        ("body:/reportId", b'{"reportId":["r1"]}', None),
        ("body:/reportId", b'{"other":"r1"}', None),
        ("body:/reportId/x", b'{"reportId":"r1"}', None),
        ("body:/reportId", b'"reportId"', None),
        ("body:/reportId", b"[]", None),
        ("body:/reportId", b"", None),
        ("body:/reportId", b'{"reportId":"r1"', None),
        ("body:/reportId", b"reportId=r1", None),
        ("body:/reportId", b'{"reportId":"\xff"}', None),
        ("body:/reportId", b'{"reportId":"\\ud800"}', None),
        ("body:/reportId", b'{"reportId":"a\\u0000b"}', "a\0b"),
        ("body:/a", b"[" * 5000 + b"]" * 5000, None),
    ],
)
def test_a_subject_in_the_body(rule: str, body: bytes, value: str | None) -> None:
    """`body:/pointer` (RFC 6901): a string in a JSON body; anything else is no subject, and passes plainly."""
    found = subject(rule, request("POST", "/x", body))
    assert found.value == value
    assert (found.missing is None) is (value is not None)


def test_why_there_is_no_subject_is_noted() -> None:
    """The record tells an operator what to look at."""
    assert subject("body:/a", request("POST", "/x", b"x")).missing == "the body is not JSON"
    assert subject("body:/a", request("POST", "/x", b"{}")).missing == "body:/a is missing"
    for no_text in (b"null", b"true", b"[1]", b"{}", b"1.2345678901234567e22", b"1e300"):
        asked = request("POST", "/x", b'{"a":' + no_text + b"}")
        assert subject("body:/a", asked).missing == "body:/a is neither a string nor a number"
    for number in ("7", "-1", "9007199254740993", "0", "1.5", "12345678901234567890123", "-" + "9" * 5_000):
        assert subject("body:/a", request("POST", "/x", b'{"a":%b}' % number.encode())).value == number
    streamed = Request("POST", b"/", Fields(()), PEER, Endless())
    assert subject("body:/a", streamed).missing == "the body is over the replay limit"


@pytest.mark.parametrize("digits", [23, 308, 309, 5_000])
def test_an_integer_of_any_length_is_a_subject(digits: int) -> None:
    """Two that differ in their last digit are two subjects, wherever they stand and whatever is beside them."""
    ones, twos = "1" * digits, "1" * (digits - 1) + "2"
    for text, told in ((ones, ones), (twos, twos)):
        nested = b'{"b":[1e300,"x"],"a":{"c":[%b]}}' % text.encode()
        assert subject("body:/a/c/0", request("POST", "/x", nested)).value == told
    beside = b'{"b":%b,"a":"x"}' % ones.encode()
    assert subject("body:/a", request("POST", "/x", beside)).value == "x"
    for broken in (b'{"a":%b', b'{"a":%b,"b":NaN}', b'{"a":%b,"b":"\xff"}', b"[" * 5_000 + b"%b"):
        assert subject("body:/a", request("POST", "/x", broken % ones.encode())).missing == "the body is not JSON"


def test_a_route_keeps_answers_for_either_reason() -> None:
    """`reuse` and `stale_if_error` both need them."""
    assert not a_route("o", "GET", "/", "u", "u").keeps
    assert route(reuse_s=1.0).keeps


def test_a_subject_is_looked_for_among_few_parameters() -> None:
    named = a_route("load", "GET", "/", "sessions", "sessions", SubjectRule("query", "id"))
    match = Match(named, {})
    assert subject_of(match, request(target="/?id=r1" + "&a=1" * 255)) == Subject("r1")
    assert subject_of(match, request(target="/?id=r1" + "&a=1" * 256)) == Subject(
        None, "the query has more than 256 parameters"
    )
