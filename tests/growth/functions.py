"""The cases of the parsers and the policies, and the list of all cases."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from random import Random

from proxy.http.authority import names_host
from proxy.http.fields import Fields
from proxy.http.headers import hop_only, trailers_that_cross
from proxy.http.message import (
    Framing,
    Peer,
    Request,
    Response,
)
from proxy.http1 import field_lines
from proxy.http1.body import (
    ChunkedBody,
    CloseBody,
    LengthBody,
    last_chunk,
)
from proxy.http1.field_lines import read_line, read_lines
from proxy.http1.gathered import Gathered
from proxy.http1.head import (
    RequestHeadReader,
    ResponseHeadReader,
    check_unfinished,
)
from proxy.policy import (
    credentials,
    idempotency,
    response_cache,
    retry,
    trace_context,
)
from proxy.policy.cache_control import directives, lifetime_s
from proxy.policy.claim_rules import of_key
from proxy.policy.coalescing import alike, varied_by
from proxy.policy.conditional import not_modified, refreshed, unchanged
from proxy.policy.correlation import correlate
from proxy.policy.cors import CorsMemory, exposing
from proxy.policy.credentials import USUAL, Name
from proxy.policy.deadline import callers_budget
from proxy.policy.invalidation import Invalidations
from proxy.policy.recovery_plan import (
    RequestTemplate,
    Result,
    fill_path,
    filled,
    own_request,
    plan,
)
from proxy.policy.request_key import Identifier
from proxy.policy.restoration import Half, found
from proxy.policy.routing import Idempotency, Match, Router, SubjectRule, subject_of
from proxy.server.trusted_proxies import TrustedProxies
from proxy.upstream.forwarding import Forwarding
from tests.growth.case import TEXT, Case
from tests.growth.configured import CONFIGURED
from tests.growth.inputs import Around
from tests.growth.readers import READERS
from tests.growth.stored import STORED
from tests.growth.tokens import TOKENS
from tests.growth.trails import TRAILS
from tests.settings import OWN_FIELDS, a_route, changed, head_limits, recovery_rules


def _chunked(data: bytes) -> None:
    ChunkedBody().feed(data)


def _segments(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def _chunked_by_byte(data: bytes) -> None:
    body = ChunkedBody()
    for segment in _segments(data):
        body.feed(segment)


def _pieces_of_a_length(data: bytes) -> None:
    body = LengthBody(len(data))
    for segment in _segments(data):
        body.feed(segment)


def _asked(data: bytes) -> Request:
    """Return the request that a head makes, as the wire makes it, or raise Refusal."""
    head = RequestHeadReader(head_limits(target=1 << 20, head=1 << 20, underscores="drop")).read(data)
    return Request(head.method, head.target, head.fields, Peer("10.0.0.1", 5), framing=head.parsed.framing)


def _in_field(name: str, more: str = "") -> Around:
    return Around(f"GET /api/sessions/1?id=1 HTTP/1.1\r\nHost: x\r\n{more}{name}: a".encode(), b"\r\n\r\n")


FIELDS = (
    "Connection", "Cache-Control", "Cookie", "Authorization", "X-Forwarded-For", "Forwarded", "Host", "Accept",
    "Expect", "Upgrade", "Transfer-Encoding", "Content-Length", "Idempotency-Key", "X-Correlation-ID", "Origin",
    "If-None-Match",
)  # fmt: skip
IN_FIELDS = tuple(_in_field(name) for name in FIELDS)
TRACED = _in_field("tracestate", f"traceparent: 00-{'a' * 32}-{'b' * 16}-01\r\n")
IN_HEADS = (
    *IN_FIELDS, TRACED,
    Around(b"GET /", b" HTTP/1.1\r\nHost: x\r\n\r\n"), Around(b"GET /?id=", b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    Around(b"GET http://h", b"/ HTTP/1.1\r\nHost: x\r\n\r\n"), Around(b"G", b" / HTTP/1.1\r\nHost: x\r\n\r\n"),
    Around(b"GET / HTTP/1.1\r\nHost: x\r\n", b"\r\n\r\n"), Around(b"GET / HTTP/1.1\r\nHost: x\r\nA", b": b\r\n\r\n"),
    Around(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: a", b"\r\nConnection: upgrade\r\n\r\n"),
)  # fmt: skip
IN_ANSWERS = (
    Around(b"", b"\r\n\r\n"), Around(b"HTTP/1.1 200 ", b"\r\n\r\n"), Around(b"HTTP/1.1 200 OK\r\n", b"\r\n\r\n"),
    *(Around(f"HTTP/1.1 200 OK\r\n{name}: a".encode(), b"\r\n\r\n") for name in (
        "Connection", "Cache-Control", "Vary", "Set-Cookie", "Content-Length", "Transfer-Encoding", "Content-Type",
        "WWW-Authenticate", "Retry-After", "Age", "Content-Encoding",
    )),
)  # fmt: skip
IN_CHUNKS = (
    Around(), Around(b"1", b"\r\na\r\n"), Around(b"1;", b"\r\na\r\n"), Around(b"0\r\n", b"\r\n\r\n"),
    Around(b"0\r\na:", b"\x01\r\n\r\n"), Around(b"0\r\na:", b"b\r\n\r\n"), Around(b"0\r\n", b":\r\n\r\n"),
    Around(b"ffff\r\n", b"\r\n"), Around(b"1;", b""), Around(b"0\r\na:", b""),
)  # fmt: skip

_ROUTE = a_route(
    "load", "GET", "/api/sessions/{id}", "u", "u", SubjectRule("path", "id"), reuse_s=1.0, no_cache_leads=True
)
_ROUTER = Router(
    (_ROUTE, replace(_ROUTE, operation="deep", template="/{a}/{b}/{c}/x/{d}")), replace(_ROUTE, operation="*")
)
_NARROW = Identifier(changed(_ROUTE, principal=("cookie:sid", "x-user")), OWN_FIELDS)
_WIDE = Identifier(_ROUTE, OWN_FIELDS)
_TRUSTED = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))
_PEER = Peer("10.0.0.1", 5)


def _answered(data: bytes) -> Response:
    head = ResponseHeadReader().read(data, "GET")
    return Response(head.status, head.reason, head.crossing, b"")


def _identified(data: bytes) -> None:
    request = _asked(data)
    for identifier in (_WIDE, _NARROW):
        identifier.identify(request, "1")
        tuple(identifier.owners(request))


def _routed(data: bytes) -> None:
    request = _asked(b"GET /" + data.translate(None, b" \r\n\t") + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    _ROUTER.match(request)
    _ROUTER.scope(Request("OPTIONS", request.target, Fields(((b"Access-Control-Request-Method", data),)), _PEER))


def _subject(source: str, name: str) -> Callable[[bytes], object]:
    match = Match(replace(_ROUTE, subject=SubjectRule(source, name)), {})

    def subject(data: bytes) -> object:
        request = Request("POST", b"/?" + data, Fields(((b"X-Id", data),)), _PEER, data)
        return subject_of(match, request)

    return subject


def _key(data: bytes) -> None:
    route = replace(_ROUTE, idempotency=Idempotency.REPLAY)
    idempotency.accepted(route, Request("POST", b"/", Fields(((b"Idempotency-Key", data),)), _PEER))


def _recovered(data: bytes) -> None:
    rules = recovery_rules(on_missing=RequestTemplate("POST", "/api/{subject}/{id}", {"{id}": ["{subject}"]}))
    text = data.decode(TEXT)
    plan(rules, Response(404, b"", Fields(())), {"id": text}, text)
    fill_path("/{id}", {"id": text}, text)
    filled({"a": [text]}, {"id": text}, text)


def _cached_response(data: bytes) -> None:
    answer = _answered(data)._replace(body=data)
    request = Request("GET", b"/", answer.fields, _PEER)
    response_cache.may_read(_ROUTE, request)
    response_cache.judge(_ROUTE, request, Result(answer), anonymous=False)
    held = response_cache.CachedResponse(answer, 0.0, 0, response_cache.varied(answer, request))
    response_cache.reread(_ROUTE, request, held, 0.5)
    retry.retry_after(answer, 0.0)
    lifetime_s(answer.fields, directives(answer.fields))
    not_modified(answer)
    refreshed(held.response, answer._replace(status=304))
    alike(varied_by(Result(answer)), request, request)
    own_request(request, "GET", b"/", data)


def _conditional(data: bytes) -> None:
    answer = Response(200, b"", Fields(((b"ETag", b'"%b"' % data[:64]),)), b"")
    unchanged(Request("GET", b"/", Fields(((b"If-None-Match", data),)), _PEER), answer)
    unchanged(Request("GET", b"/", Fields(((b"If-None-Match", b'"x"'),)), _PEER), answer._replace(
        fields=Fields(((b"ETag", data),))
    ))  # fmt: skip


def _cors(data: bytes) -> None:
    fields = Fields((
        (b"Origin", data), (b"Access-Control-Request-Headers", data), (b"Cookie", data), (b"Authorization", data),
    ))  # fmt: skip
    request, memory = Request("OPTIONS", b"/", fields, _PEER, authority=data), CorsMemory()
    told = Fields(((b"Access-Control-Allow-Origin", data), (b"Vary", data), (b"X-A", data)))
    memory.learn(request, Response(204, b"", told, b""), data)
    memory.preflight(request, data)
    CorsMemory(("*",)).configured_preflight(request, "GET")
    exposing(memory.lines(request))


def _chained(data: bytes) -> None:
    """Have a read and a write of whoever sends this made old."""
    request, invalidations = _asked(data), Invalidations()
    owners, subject = tuple(_WIDE.owners(request)), request.target.decode(TEXT)
    stamp = invalidations.stamp()
    invalidations.begin(subject, owners)
    invalidations.invalidate(subject, owners)
    invalidations.end_session(owners, "10.0.0.1")
    invalidations.mark_uncertain(1.0, subject, owners, 0.0)
    invalidations.uncertain.about(subject, owners, 0.5)
    invalidations.joinable(stamp + 1, subject, owners)
    invalidations.fresh(stamp + 2, None, owners)


def _claimed(data: bytes) -> None:
    request = Request("POST", data, Fields(((b"Idempotency-Key", b"k"),)), _PEER, data)
    request.trailers = ((b"a", data),)
    key = idempotency.accepted(replace(_ROUTE, idempotency=Idempotency.REPLAY), request)
    assert key is not None
    of_key(_ROUTE, request, data, key)


def _too_long(data: bytes) -> None:
    check_unfinished(b"G" + data, 0, head_limits())
    RequestHeadReader(head_limits(head=8)).read(data)


def _history(data: bytes) -> object:
    return found(Half.HISTORY, Result(Response(200, b"", Fields(()), data, Framing.LENGTH)), 200, succeeded=True)


def _credentials(data: bytes) -> None:
    fields = Fields(((b"Cookie", data), (b"Authorization", data)))
    credentials.sets_known_cookies(fields, Fields(((b"Set-Cookie", data),)))
    credentials.naming(fields, (*USUAL, Name(b"cookie", b"sid")))
    credentials.says(data)
    credentials.authorizes(data)
    credentials.authorizes(b"Basic " + data)
    for name in (*USUAL, Name(b"cookie", b"sid")):
        tuple(name.parts(fields))


def _gathered(data: bytes) -> None:
    """Gather two pieces of 64 bytes for each byte of the input: copies of all that is here would show."""
    gathered, piece = Gathered(), data[:64]
    for _ in range(2 * len(data)):
        gathered.add(piece)
    gathered.take()


# The reader remembers as many names as it may. All others are new, in small inputs as in large ones: what is remembered
# is read in a third of the time.
read_lines(b"".join([b"known-%d:\r\n" % number for number in range(field_lines._MEMORY)]))

WIRE = (
    Case("gathered.Gathered.add, take", _gathered, fillings=("spaces",)),
    Case("body.ChunkedBody.feed", _chunked, IN_CHUNKS),
    Case("body.ChunkedBody.feed, a byte a segment", _chunked_by_byte, IN_CHUNKS, times=32),
    Case("body.LengthBody.feed, a byte a segment", _pieces_of_a_length, times=16),
    Case("body.CloseBody.feed", lambda data: CloseBody().feed(data)),
    Case("field_lines.read_lines", read_lines, (Around(), Around(b"", b"\r\n"), Around(b"a:", b"\r\n"))),
    Case("field_lines.read_line", read_line, (Around(), Around(b"a:", b"\x01"), Around(b"", b":a"))),
    Case("head.RequestHeadReader.read", _asked, IN_HEADS),
    Case("head.ResponseHeadReader.read", _answered, IN_ANSWERS),
    Case("head.check_unfinished, RequestHeadReader.read of what is too long", _too_long),
    Case("authority.names_host", names_host, (Around(), Around(b"["), Around(b"[", b"]"), Around(b"a:"))),
    Case("trusted_proxies.look", lambda data: _TRUSTED.look(_PEER, Fields(((b"X-Forwarded-For", data),)))),
    Case("forwarding.Forwarding.lines", lambda data: Forwarding(via=True, style="both").lines(_asked(data)), IN_HEADS),
    Case("headers.hop_only", lambda data: hop_only(_asked(data).fields, frozenset({b"connection"})), IN_HEADS),
    Case("headers.trailers_that_cross", lambda data: trailers_that_cross(((data, data),))),
    Case("body.last_chunk", lambda data: last_chunk(read_lines(data).lines), (Around(), Around(b"a:", b"\r\n"))),
)
POLICIES = (
    Case("request_key.Identifier.identify, owners", _identified, IN_HEADS),
    Case("credentials.shown, Name.parts", _credentials, (Around(), Around(b"sid=1"))),
    Case("routing.Router.match, scope", _routed),
    Case("routing.subject_of, query", _subject("query", "id"), (Around(), Around(b"id=1"))),
    Case("routing.subject_of, header", _subject("header", "X-Id")),
    Case("routing.subject_of, body", _subject("body", "/a/b/0"), (Around(), Around(b'{"a":{"b":["', b'"]}}'))),
    Case("routing.subject_of, digits", _subject("body", "/a"), (Around(b'{"a":' + b"1" * 400 + b',"b":"', b'"}'),)),
    Case("correlation.correlate", lambda data: correlate("load", data, 0.0, Random(1))),
    Case("trace_context.vetted", lambda data: trace_context.vetted(_asked(data).fields), (*IN_FIELDS[:1], TRACED)),
    Case(
        "trace_context.parse", trace_context.parse, (Around(), Around(b"01-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00-"))
    ),
    Case("deadline.callers_budget", callers_budget),
    Case("idempotency.accepted", _key, (Around(), Around(b'"', b'"'))),
    Case(
        "response_cache.may_read, judge, varied, reread; retry.retry_after; cache_control; conditional; own_request",
        _cached_response,
        IN_ANSWERS,
    ),
    Case("conditional.unchanged", _conditional, (Around(), Around(b'"', b'"'))),
    Case("cors.CorsMemory.learn, preflight, lines", _cors),
    Case("invalidation.Invalidations", _chained, IN_FIELDS),
    Case("claim_rules.of_key", _claimed),
    Case("recovery_plan.plan, fill_path, filled", _recovered),
    Case("restoration.found", _history, (Around(), Around(b'{"messages":['), Around(b"[", b"]"))),
)
CASES = (*WIRE, *POLICIES, *STORED, *READERS, *TRAILS, *TOKENS, *CONFIGURED)
