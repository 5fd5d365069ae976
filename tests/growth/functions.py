"""Every function that takes bytes or text from outside, and what stands around the text that grows in its input."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from random import Random

from proxy.admin.records import exported
from proxy.audit.chain import Chain, unseal
from proxy.audit.checkpoint import read as read_checkpoints
from proxy.audit.export import write_csv
from proxy.audit.files import Line, Trail, TrailError, lines, parse
from proxy.audit.reader import Query, stats, tail
from proxy.audit.redaction import Redaction, bounded
from proxy.audit.verify import verify
from proxy.authority import names_host
from proxy.config.addresses import is_host, parse_address, parse_upstream
from proxy.config.document import Document
from proxy.config.environment import lay_environment
from proxy.config.problems import Objection
from proxy.config.templates import parse_template
from proxy.config.units import parse_duration, parse_size
from proxy.errors import BadAnswer, BrokenBody, MalformedLines, Refusal, TooManyLines
from proxy.fields import Fields
from proxy.message import Framing, Peer, Request, Response
from proxy.policy import credentials, idempotency, kept, retry, trace_context
from proxy.policy.correlation import correlate
from proxy.policy.credentials import USUAL, Name
from proxy.policy.deadline import callers_budget
from proxy.policy.identity import Identifier
from proxy.policy.recovery import RecoveryRules, RequestTemplate, Result, fill_path, filled, plan
from proxy.policy.restoration import Half, found
from proxy.policy.routing import Idempotency, Match, Route, Router, SubjectRule, subject_of
from proxy.store.packing import pack_kept, unpack_kept
from proxy.text import escaped, escaped_json, harmless_cell
from proxy.wire.bodies import ChunkedBody, CloseBody, LengthBody
from proxy.wire.crossing import hop_only, trailers_that_cross
from proxy.wire.forwarding import Forwarding, TrustedProxies
from proxy.wire.heads import HeadLimits, RequestReader, ResponseReader, check_unfinished
from proxy.wire.lines import read_line, read_lines
from tests.growth.inputs import Around

# Each of these is an answer to bad input; anything else that is raised fails the test.
REFUSALS = (
    Refusal, BrokenBody, BadAnswer, MalformedLines, TooManyLines, Objection, TrailError,
)  # fmt: skip
TEXT = "latin-1"
PLAIN = (Around(),)


@dataclass(frozen=True, slots=True)
class Case:
    """One function, called with the input; `around` are the places in its input at which text grows."""

    name: str
    call: Callable[[bytes], object]
    around: tuple[Around, ...] = PLAIN
    times: int = 1  # how many times smaller its inputs are: what is slow by nature, such as one byte a segment

    def run(self, data: bytes) -> None:
        """Call it; what it refuses is refused."""
        with suppress(*REFUSALS):
            self.call(data)


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
    head = RequestReader(HeadLimits(target=1 << 20, head=1 << 20)).read(data)
    return Request(head.method, head.target, head.fields, Peer("10.0.0.1", 5), framing=head.said.framing)


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

_ROUTE = Route(
    "load", "GET", "/api/sessions/{id}", "u", "u", SubjectRule("path", "id"), reuse_s=1.0, no_cache_leads=True
)
_ROUTER = Router(
    (_ROUTE, replace(_ROUTE, operation="deep", template="/{a}/{b}/{c}/x/{d}")), replace(_ROUTE, operation="*")
)
_NARROW = Identifier(replace(_ROUTE, principal=("cookie:sid", "x-user")))
_WIDE = Identifier(_ROUTE)
_TRUSTED = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))
_REDACTION = Redaction(b"salt", frozenset({b"a"}), (b"cookie",), "hashed")
_PEER = Peer("10.0.0.1", 5)


def _answered(data: bytes) -> Response:
    head = ResponseReader().read(data, "GET")
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
    rules = RecoveryRules(on_missing=RequestTemplate("POST", "/api/{subject}/{id}", {"{id}": ["{subject}"]}))
    text = data.decode(TEXT)
    plan(rules, Response(404, b"", Fields(())), {"id": text}, text)
    fill_path("/{id}", {"id": text}, text)
    filled({"a": [text]}, {"id": text}, text)


def _kept_answer(data: bytes) -> None:
    answer = _answered(data)._replace(body=data)
    request = Request("GET", b"/", answer.fields, _PEER)
    kept.may_read(_ROUTE, request)
    kept.judge(_ROUTE, request, Result(answer), anonymous=False)
    held = kept.Kept(answer, 0.0, 0, kept.varied(answer, request))
    kept.reread(_ROUTE, request, held, 0.5)
    retry.retry_after(answer, 0.0)
    unpack_kept(pack_kept(held, []), 0)


def _history(data: bytes) -> object:
    return found(Half.HISTORY, Result(Response(200, b"", Fields(()), data, Framing.LENGTH)), 200, succeeded=True)


def _credentials(data: bytes) -> None:
    fields = Fields(((b"Cookie", data), (b"Authorization", data)))
    credentials.shown(fields, (*USUAL, Name(b"cookie", b"sid")))
    credentials.says(data)
    credentials.authorizes(data)
    credentials.authorizes(b"Basic " + data)
    for name in (*USUAL, Name(b"cookie", b"sid")):
        tuple(name.parts(fields))


WIRE = (
    Case("bodies.ChunkedBody.feed", _chunked, IN_CHUNKS),
    Case("bodies.ChunkedBody.feed, a byte a segment", _chunked_by_byte, IN_CHUNKS, times=32),
    Case("bodies.LengthBody.feed, a byte a segment", _pieces_of_a_length, times=16),
    Case("bodies.CloseBody.feed", lambda data: CloseBody().feed(data)),
    Case("lines.read_lines", read_lines, (Around(), Around(b"", b"\r\n"), Around(b"a:", b"\r\n"))),
    Case("lines.read_line", read_line, (Around(), Around(b"a:", b"\x01"), Around(b"", b":a"))),
    Case("heads.RequestReader.read", _asked, IN_HEADS),
    Case("heads.ResponseReader.read", _answered, IN_ANSWERS),
    Case("heads.check_unfinished", lambda data: check_unfinished(b"G" + data, 0, HeadLimits())),
    Case("authority.names_host", names_host, (Around(), Around(b"["), Around(b"[", b"]"), Around(b"a:"))),
    Case("forwarding.TrustedProxies.look", lambda data: _TRUSTED.look(_PEER, Fields(((b"X-Forwarded-For", data),)))),
    Case("forwarding.Forwarding.lines", lambda data: Forwarding(style="both").lines(_asked(data)), IN_HEADS),
    Case("crossing.hop_only", lambda data: hop_only(_asked(data).fields, frozenset({b"connection"})), IN_HEADS),
    Case("crossing.trailers_that_cross", lambda data: trailers_that_cross(((data, data),))),
)
POLICIES = (
    Case("identity.Identifier.identify, owners", _identified, IN_HEADS),
    Case("credentials.shown, Name.parts", _credentials, (Around(), Around(b"sid=1"))),
    Case("routing.Router.match, scope", _routed),
    Case("routing.subject_of, query", _subject("query", "id"), (Around(), Around(b"id=1"))),
    Case("routing.subject_of, header", _subject("header", "X-Id")),
    Case("routing.subject_of, body", _subject("body", "/a/b/0"), (Around(), Around(b'{"a":{"b":["', b'"]}}'))),
    Case("correlation.correlate", lambda data: correlate("load", data, 0.0, Random(1))),
    Case("trace_context.vetted", lambda data: trace_context.vetted(_asked(data).fields), (*IN_FIELDS[:1], TRACED)),
    Case(
        "trace_context.parse", trace_context.parse, (Around(), Around(b"01-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00-"))
    ),
    Case("deadline.callers_budget", callers_budget),
    Case("idempotency.accepted", _key, (Around(), Around(b'"', b'"'))),
    Case("kept.may_read, judge, varied, reread; retry.retry_after; packing", _kept_answer, IN_ANSWERS),
    Case("recovery.plan, fill_path, filled", _recovered),
    Case("restoration.found", _history, (Around(), Around(b'{"messages":['), Around(b"[", b"]"))),
)


def _line(data: bytes) -> Line:
    return Line(Path("audit.jsonl"), 1, data)


def _sealed(data: bytes) -> bytes:
    text = data.decode(TEXT)
    return Chain().seal({"subject": text, "success": False, "duration_ms": 1.0, "operation": text, "ts": text})


def _path(data: bytes) -> None:
    _REDACTION.path(b"/" + data, b"")
    _REDACTION.path(b"/", data)


def _noted(data: bytes) -> None:
    _REDACTION.noted_headers(Fields(((b"Cookie", data),)))
    _REDACTION.hashed(data)
    _REDACTION.client(data.decode(TEXT))
    bounded(data.decode(TEXT))


def _shown(data: bytes) -> None:
    text = data.decode(TEXT)
    escaped(text)
    escaped_json(text)
    harmless_cell(text)


def _file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Return a call that reads a file with the input in it."""

    def call(data: bytes) -> object:
        path = Path(f"{name}-{len(data)}.jsonl")
        path.write_bytes(data)
        return read(path)

    return call


def _whole_trail(data: bytes) -> None:
    line = _sealed(data)
    verify([_line(line), _line(line[:-1])])
    unseal(line)
    record = parse(_line(line))
    assert record is not None
    Query(report_id=data.decode(TEXT), since="2026").matches(record.fields)
    write_csv([record], StringIO())
    stats([record])


def _any_trail(path: Path) -> None:
    found_ = list(lines([path]))
    verify(found_)
    for line in found_:
        parse(line)
    tuple(read_checkpoints(path))


def _tailed(path: Path) -> None:
    list(tail(Trail((path,), path), Query(), 10, None))


def _settings(data: bytes) -> None:
    text = data.decode(TEXT)
    for read in (parse_duration, parse_size, parse_template, parse_address, parse_upstream, is_host):
        with suppress(Objection, UnicodeEncodeError):
            read(text)
        with suppress(Objection, UnicodeEncodeError):
            read(f"GET /{text}")
        with suppress(Objection, UnicodeEncodeError):
            read(f"http://{text}")


def _document(data: bytes) -> None:
    with suppress(ValueError, RecursionError):
        Document(data.decode(TEXT), "file").where(("a", "b"))


def _exported(data: bytes) -> object:
    return exported([_sealed(data)], {"report_id": data.decode(TEXT), "format": "csv"})


def _variables(data: bytes) -> None:
    text = data.decode(TEXT)
    list(
        lay_environment(Document("[upstreams.a]\nurl = 'http://a'"), {f"BACKSTAY_{text}": "1", "BACKSTAY_ROUTES": text})
    )


IN_TRAILS = (Around(), Around(b'{"v":1,', b"\n"), Around(b"", b',"mac":""}\n'))
IN_TOML = (Around(), Around(b'a = "', b'"'), Around(b"[", b"]"), Around(b"a = "), Around(b"a", b" = 1"))
READERS = (
    Case("redaction.Redaction.path", _path),
    Case("redaction.Redaction.noted_headers, hashed, client; bounded", _noted),
    Case("text.escaped, escaped_json, harmless_cell", _shown, times=8),
    Case("chain.seal, unseal; files.parse; reader.stats; verify; export.write_csv", _whole_trail, times=8),
    Case("chain.unseal", unseal, (Around(), Around(b'{"v":1,"seq":1,'), Around(b'{"v":', b'"}\n'))),
    Case("files.lines; verify; checkpoint.read", _file("trail", _any_trail), IN_TRAILS, times=32),
    Case("reader.tail", _file("tail", _tailed), times=8),
    Case("records.exported", _exported, times=8),
    Case("config units, templates, addresses", _settings),
    Case("config.document.Document", _document, IN_TOML, times=4),
    Case("config.environment.lay_environment", _variables, (Around(), Around(b"ROUTES__", b"__X")), times=16),
)
CASES = (*WIRE, *POLICIES, *READERS)
